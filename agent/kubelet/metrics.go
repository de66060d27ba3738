package kubelet

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// readErrors counts reads that failed, by file: checkpoint (cpu_manager_state) or config. It grows by one
// for each failed read, so a steady rate is one that does not go away.
var readErrors = metrics.NewCounterVec(&metrics.CounterOpts{
	Namespace:      "corepin",
	Subsystem:      "agent",
	Name:           "kubelet_read_errors_total",
	Help:           "Reads of the kubelet's files that failed, by file: checkpoint or config.",
	StabilityLevel: metrics.ALPHA,
}, []string{"file"})

// RegisterMetrics makes this package's metrics visible. Only the first call does anything.
var RegisterMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(readErrors) })

func observe(file string, err error) {
	if err != nil {
		readErrors.WithLabelValues(file).Inc()
	}
}
