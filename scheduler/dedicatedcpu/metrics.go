// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"corepin.dev/corepin/pkg/version"
	"corepin.dev/corepin/scheduler/audit"
	"corepin.dev/corepin/scheduler/fragmentation"
	"corepin.dev/corepin/scheduler/heard"
)

const (
	metricsNamespace = "corepin"
	metricsSubsystem = "scheduler"

	// labelMisfit counts launcher pods that PreFilter refuses on every node.
	labelMisfit = "misfit"

	boundExact        = "exact"
	boundEstimated    = "estimated"
	boundNoCPUManager = "no_cpu_manager"
)

// The metrics appear among kube-scheduler's own on /metrics. They have no label for pod, VM or node. Every label value
// exists from the start, so that a rate or an alert sees the first increase.
var (
	refusals = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "node_refusals_total",
		Help:           "Nodes that Filter refused to pods that ask for exclusive CPUs, by reason, simulations of preemption not included. Reason misfit counts launcher pods that are refused on every node, and changed those that Bind refused.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"reason"})

	bound = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "bound_pods_total",
		Help:           "Bound pods that ask for exclusive CPUs, by what was known of the node: exact, estimated, or no_cpu_manager.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"prediction"})

	woken = metrics.NewCounter(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "woken_pods_total",
		Help:           "Pending pods that were tried again because a CPU report or a VM had changed.",
		StabilityLevel: metrics.ALPHA,
	})

	lateCycles = metrics.NewCounter(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "late_cycles_total",
		Help:           "Scheduling cycles in which the time for predictions was over before every node was looked at.",
		StabilityLevel: metrics.ALPHA,
	})

	withRoomByCount = metrics.NewGauge(&metrics.GaugeOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "pods_with_counted_room",
		Help:           "Pending pods for which a node has room by kube-scheduler's count, and its kubelet would refuse them. An autoscaler adds no node for them.",
		StabilityLevel: metrics.ALPHA,
	})

	registerOnce sync.Once
)

// registerMetrics is called for each profile.
func registerMetrics() {
	registerOnce.Do(func() {
		legacyregistry.MustRegister(refusals, bound, woken, lateCycles, withRoomByCount)
		heard.RegisterMetrics()
		fragmentation.RegisterMetrics()
		zeroMetrics()
		audit.RegisterMetrics()
		version.RegisterMetrics()
	})
}

// zeroMetrics makes every label value exist.
func zeroMetrics() {
	refusals.WithLabelValues(labelMisfit)
	for _, r := range allRefusals() {
		refusals.WithLabelValues(r.label)
	}
	for _, label := range []string{boundExact, boundEstimated, boundNoCPUManager} {
		bound.WithLabelValues(label)
	}
}
