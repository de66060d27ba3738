// SPDX-License-Identifier: Apache-2.0

package source

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Name is a source of what the agent knows. It is a label of a metric, so the set is closed: those below.
type Name struct{ label string }

// names are all sources.
var names []Name

// The sources: the kubelet's files, its answers, and the host.
var (
	Checkpoint   = newName("checkpoint")   // cpu_manager_state
	Memory       = newName("memory")       // memory_manager_state
	Config       = newName("config")       // the kubelet's configuration file
	Devices      = newName("devices")      // kubelet_internal_checkpoint
	Configz      = newName("configz")      // what the kubelet says of its configuration
	PodResources = newName("podresources") // which CPUs and devices the kubelet can grant
	Topology     = newName("topology")     // CPUs and NUMA nodes in sysfs
	HostMemory   = newName("host_memory")  // memory and huge pages of the NUMA nodes in sysfs
	Cgroup       = newName("cgroup")       // the containers' cpusets
)

func newName(label string) Name {
	name := Name{label}
	names = append(names, name)
	return name
}

// readErrors counts reads that failed, by source. It grows by one for each failed read, so a steady rate is an error
// that does not go away.
var readErrors = metrics.NewCounterVec(&metrics.CounterOpts{
	Namespace:      "corepin",
	Subsystem:      "agent",
	Name:           "source_errors_total",
	Help:           "Reads that failed, by source: checkpoint, config, devices, memory (the kubelet's files), configz, podresources (the kubelet itself), topology, host_memory (sysfs) or cgroup.",
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

// RegisterMetrics makes this package's metrics visible, with every label value. Only the first call does anything.
var RegisterMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(readErrors, watched)
	for _, name := range names {
		readErrors.WithLabelValues(name.label)
	}
})

// Observe counts a read of a source that failed; one that did not counts nothing.
func Observe(source Name, err error) {
	if err != nil {
		readErrors.WithLabelValues(source.label).Inc()
	}
}

// ObserveWatched takes whether the kernel notifies of changes of the kubelet's files; err is why it does not.
func ObserveWatched(err error) {
	watched.Set(1)
	if err != nil {
		watched.Set(0)
	}
}
