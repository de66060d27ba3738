package dedicatedcpu

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const (
	metricsNamespace = "corepin"
	metricsSubsystem = "scheduler"

	// labelMisfit counts launcher pods refused as such, on every node at once.
	labelMisfit = "misfit"

	boundExact        = "exact"
	boundEstimated    = "estimated"
	boundNoCPUManager = "no_cpu_manager"

	predictionMatch    = "match"
	predictionMismatch = "mismatch"
)

// The metrics appear among kube-scheduler's own on /metrics. They have no label for pod, VM or node.
var (
	refusals = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "node_refusals_total",
		Help:           "Nodes that Filter refused to pods asking for exclusive CPUs, by reason; reason misfit counts launcher pods that no kubelet would give what their VM asks for.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"reason"})

	bound = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "bound_pods_total",
		Help:           "Pods asking for exclusive CPUs that were bound, by what was known of the node: exact, estimated, or no_cpu_manager.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"prediction"})

	woken = metrics.NewCounter(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Subsystem:      metricsSubsystem,
		Name:           "woken_pods_total",
		Help:           "Waiting pods that were tried again because a node's CPU report had room for them.",
		StabilityLevel: metrics.ALPHA,
	})

	predictions = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      metricsNamespace,
		Name:           "prediction_total",
		Help:           "Pods bound on an exact prediction, by whether their kubelet then did what was predicted: match or mismatch. Where it cannot be told a pod is not counted.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"result"})

	registerOnce sync.Once
)

func registerMetrics() {
	registerOnce.Do(func() {
		legacyregistry.MustRegister(refusals, bound, woken, predictions)
	})
}
