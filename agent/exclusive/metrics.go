// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"sync"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// The states of a guest in the metric.
const (
	alone      = "alone"      // nobody else may run on its CPUs
	services   = "services"   // no container may, and the host's own software may
	containers = "containers" // other containers may, and have for longer than the kubelet takes to reconcile
	pending    = "pending"    // other containers may, and the kubelet has time left; or nobody has looked yet
)

var (
	guestsBy = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace: "corepin", Subsystem: "exclusive", Name: "guests",
		Help:           "Dedicated VMs by who else may run on their CPUs: nobody (alone), the host's own software (services), other containers (containers), or not known yet (pending).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"others"})

	delay = metrics.NewHistogram(&metrics.HistogramOpts{
		Namespace: "corepin", Subsystem: "exclusive", Name: "delay_seconds",
		Help:           "Seconds from the kubelet's grant to a dedicated VM until no other container may run on its CPUs any more.",
		Buckets:        []float64{0.5, 1, 2, 4, 8, 12, 16, 30, 60, 300},
		StabilityLevel: metrics.ALPHA,
	})

	lost = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Namespace: "corepin", Subsystem: "exclusive", Name: "lost_ratio",
		Help:           "Share of the time of a dedicated VM's CPUs that it did not get, once a minute for each VM, by cause: others (threads), irq, softirq, steal or throttled.",
		Buckets:        []float64{0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5},
		StabilityLevel: metrics.ALPHA,
	}, []string{"cause"})
)

func (l loss) byCause() map[string]float64 {
	return map[string]float64{"others": l.others, "irq": l.irq, "softirq": l.softIRQ, "steal": l.steal, "throttled": l.throttled}
}

func observeLoss(l loss) {
	for cause, share := range l.byCause() {
		lost.WithLabelValues(cause).Observe(share)
	}
}

// registerMetrics makes this package's metrics visible, with every label value. Only the first call does anything.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(guestsBy, delay, lost)
	for cause := range (loss{}).byCause() {
		lost.WithLabelValues(cause)
	}
	observe(nil, 0)
})

// observe sets the gauge.
func observe(all records, patience time.Duration) {
	number := map[string]int{}
	for _, r := range all {
		switch {
		case !r.looked || len(r.others) > 0 && !r.lasting(patience):
			number[pending]++
		case len(r.others) > 0:
			number[containers]++
		case len(r.services) > 0:
			number[services]++
		default:
			number[alone]++
		}
	}
	for _, others := range []string{alone, services, containers, pending} {
		guestsBy.WithLabelValues(others).Set(float64(number[others]))
	}
}
