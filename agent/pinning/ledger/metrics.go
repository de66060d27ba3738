// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

var (
	guests = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace:      "corepin",
		Subsystem:      "pinning",
		Name:           "guests",
		Help:           "Dedicated VMs on this node, by their state at the last look (waiting, pinned, drifted, failing, not_exclusive).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"state"})

	conflicting = metrics.NewGauge(&metrics.GaugeOpts{
		Namespace:      "corepin",
		Subsystem:      "pinning",
		Name:           "conflicting_guests",
		Help:           "Dedicated VMs on this node that have a CPU in common with another one.",
		StabilityLevel: metrics.ALPHA,
	})
)

// registerMetrics makes this package's metrics visible, with every label value. Only the first call does anything.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(guests, conflicting)
	for _, s := range states {
		guests.WithLabelValues(string(s))
	}
})

// count sets the gauges. It is called with the lock held.
func (l *Ledger) count() {
	number := map[State]int{}
	inConflict := 0
	for _, g := range l.guests {
		if g.seen {
			number[g.entry.State]++
		}
		for _, c := range g.conflicts {
			if c.told {
				inConflict++
				break
			}
		}
	}
	for _, s := range states {
		guests.WithLabelValues(string(s)).Set(float64(number[s]))
	}
	conflicting.Set(float64(inConflict))
}
