// SPDX-License-Identifier: Apache-2.0

package heard

import (
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

var silentNodes = metrics.NewGauge(&metrics.GaugeOpts{
	Namespace:      "corepin",
	Subsystem:      "scheduler",
	Name:           "silent_nodes",
	Help:           "Nodes that are not heard from: the pod of their agent, which their report names, is not ready or gone.",
	StabilityLevel: metrics.ALPHA,
})

// RegisterMetrics is to be called once.
func RegisterMetrics() { legacyregistry.MustRegister(silentNodes) }
