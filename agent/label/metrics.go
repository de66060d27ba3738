// SPDX-License-Identifier: Apache-2.0

package label

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

var (
	// actions is 1 for what the agent does about its node's labels now, 0 for the rest.
	actions = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace: "corepin", Subsystem: "agent", Name: "label_action",
		Help:           "What the agent does about the node's CPU manager labels now (1): set, giveUp, or leave (not known).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"action"})
	// conflicting is the number of labels that somebody else gave another value.
	conflicting = metrics.NewGauge(&metrics.GaugeOpts{
		Namespace: "corepin", Subsystem: "agent", Name: "label_conflicts",
		Help:           "CPU manager labels on the node that somebody else gave another value than true.",
		StabilityLevel: metrics.ALPHA,
	})
)

// registerMetrics makes this package's metrics visible, with every label value. Only the first call does anything.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(actions, conflicting)
	resetActions()
})

func resetActions() {
	for _, a := range []Action{Leave, Set, GiveUp} {
		actions.WithLabelValues(string(a)).Set(0)
	}
}

func observe(action Action, conflicts int) {
	resetActions()
	actions.WithLabelValues(string(action)).Set(1)
	conflicting.Set(float64(conflicts))
}
