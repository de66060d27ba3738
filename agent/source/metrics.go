package source

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// readErrors counts reads that failed, by source: the kubelet's files checkpoint (cpu_manager_state), config and
// memory (memory_manager_state), its answers configz and podresources, and the host's topology. It grows by
// one for each failed read, so a steady rate is one that does not go away.
var readErrors = metrics.NewCounterVec(&metrics.CounterOpts{
	Namespace:      "corepin",
	Subsystem:      "agent",
	Name:           "source_errors_total",
	Help:           "Reads that failed, by source: checkpoint, config, memory (the kubelet's files), configz, podresources (the kubelet itself) or topology (sysfs).",
	StabilityLevel: metrics.ALPHA,
}, []string{"source"})

// watched is 1 where the kernel notifies of changes of the kubelet's files.
var watched = metrics.NewGauge(&metrics.GaugeOpts{
	Namespace:      "corepin",
	Subsystem:      "agent",
	Name:           "files_watched",
	Help:           "Whether the kernel notifies of changes of the kubelet's files: 1, or 0 where they are only read periodically.",
	StabilityLevel: metrics.ALPHA,
})

// RegisterMetrics makes this package's metrics visible. Only the first call does anything.
var RegisterMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(readErrors, watched) })

// Observe counts a read of a source that failed; one that did not counts nothing.
func Observe(source string, err error) {
	if err != nil {
		readErrors.WithLabelValues(source).Inc()
	}
}

// ObserveWatched takes whether the kernel notifies of changes of the kubelet's files; err is why it does not.
func ObserveWatched(err error) {
	watched.Set(1)
	if err != nil {
		watched.Set(0)
	}
}
