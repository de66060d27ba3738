// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
)

const (
	resultMatch    = "match"
	resultMismatch = "mismatch"
)

var predictions = metrics.NewCounterVec(&metrics.CounterOpts{
	Namespace:      "corepin",
	Subsystem:      "scheduler",
	Name:           "predictions_total",
	Help:           "Pods bound on an exact prediction, by whether their kubelet then did what was predicted: match or mismatch. A pod is not counted where that cannot be compared.",
	StabilityLevel: metrics.ALPHA,
}, []string{"result"})

// RegisterMetrics is to be called once. Both results exist from then on, so that a rate or an alert sees the first increase.
func RegisterMetrics() {
	legacyregistry.MustRegister(predictions)
	for _, result := range []string{resultMatch, resultMismatch} {
		predictions.WithLabelValues(result)
	}
}

// count counts pods that were predicted, and logs a mismatch with all that is needed to run it again.
func count(logger klog.Logger, nodeName string, pods int, scenario string) {
	result := resultMatch
	if scenario != "" {
		result = resultMismatch
		logger.Info("the kubelet decided otherwise than predicted", "node", nodeName, "pods", pods, "scenario", scenario)
	}
	predictions.WithLabelValues(result).Add(float64(pods))
}
