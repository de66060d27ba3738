// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const (
	metricsNamespace = "corepin"
	metricsSubsystem = "pinning"
)

// No metric names a pod or a VM: the events do, and a series for every VM that ever ran would not be
// bounded.
var (
	pinsApplied = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "pins_applied_total",
		Help:           "Threads of guests that were pinned, by kind of thread (vcpu, emulator, iothread).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"thread"})

	driftSeen = metrics.NewCounter(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "drifts_total",
		Help:           "Times that a guest was found off the CPUs that it had been pinned to.",
		StabilityLevel: metrics.ALPHA,
	})

	passErrors = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "errors_total",
		Help:           "Looks at a guest that did not end with valid pins, by reason.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"reason"})

	vmiErrors = metrics.NewCounter(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "vmi_errors_total",
		Help:           "Times that a VM's VMI could not be read, so that its guest was placed by its domain alone.",
		StabilityLevel: metrics.ALPHA,
	})

	repairSeconds = metrics.NewHistogram(&metrics.HistogramOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "repair_duration_seconds",
		Help:           "Seconds from first seeing a guest's threads off their pins to having read back all of its pins.",
		Buckets:        metrics.ExponentialBuckets(0.005, 2, 13),
		StabilityLevel: metrics.ALPHA,
	})

	waitRatio = metrics.NewHistogram(&metrics.HistogramOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "vcpu_wait_ratio",
		Help:           "Part of a minute that a vCPU of a dedicated VM was ready to run and waited for a CPU, once a minute for each vCPU.",
		Buckets:        []float64{0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5},
		StabilityLevel: metrics.ALPHA,
	})

	pinSeconds = metrics.NewHistogram(&metrics.HistogramOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "pin_duration_seconds",
		Help:           "Seconds from first seeing a guest run to having read back all of its pins.",
		Buckets:        metrics.ExponentialBuckets(0.005, 2, 13),
		StabilityLevel: metrics.ALPHA,
	})
)

// registerMetrics is called by New, once for the process whatever the number of controllers. Every label value exists
// from then on, so that a rate or an alert sees the first increase.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(pinsApplied, driftSeen, passErrors, pinSeconds, repairSeconds, vmiErrors, waitRatio)
	for _, kind := range []ThreadKind{VCPU, Emulator, IOThread} {
		pinsApplied.WithLabelValues(string(kind))
	}
	for _, r := range reasons {
		passErrors.WithLabelValues(string(r))
	}
})
