// SPDX-License-Identifier: Apache-2.0

package report

import (
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

// Results of a write.
const (
	resultWritten = "written"
	resultFailed  = "failed"
	resultRefused = "refused"
)

var (
	// writes counts the reports that were to be written: written; failed, to be tried again; refused,
	// because a newer agent's report is there.
	writes = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace: "corepin", Subsystem: "agent", Name: "report_writes_total",
		Help:           "Reports to be written, by result: written, failed (to be tried again) or refused (a newer agent's report is there).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"result"})
	// delay is the time from a change to the report of it at the API server.
	delay = metrics.NewHistogram(&metrics.HistogramOpts{
		Namespace: "corepin", Subsystem: "agent", Name: "report_delay_seconds",
		Help:           "Time from the agent's noticing a change to the report of it being written.",
		Buckets:        []float64{0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 60},
		StabilityLevel: metrics.ALPHA,
	})
	// cpus are the numbers of the summary. The states are not exclusive: free CPUs are online CPUs too.
	cpus = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace: "corepin", Subsystem: "agent", Name: "cpus",
		Help:           "CPUs of the node by state: online, reserved, shared (the kubelet's default CPU set), granted or free (the kubelet can still grant them).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"state"})
	// exactNode is 1 where the prediction holds for this node.
	exactNode = metrics.NewGauge(&metrics.GaugeOpts{
		Namespace: "corepin", Subsystem: "agent", Name: "exact",
		Help:           "Whether the kubelet's decisions on this node are predicted exactly: 1 or 0.",
		StabilityLevel: metrics.ALPHA,
	})
	// sourcesComplete is 1 where every source is read.
	sourcesComplete = metrics.NewGauge(&metrics.GaugeOpts{
		Namespace: "corepin", Subsystem: "agent", Name: "sources_complete",
		Help:           "Whether every source that knows about the node's CPUs is read: 1 or 0.",
		StabilityLevel: metrics.ALPHA,
	})
	// restartUnsafe is 1 where a restart of the kubelet would do harm.
	restartUnsafe = metrics.NewGauge(&metrics.GaugeOpts{
		Namespace: "corepin", Subsystem: "agent", Name: "restart_unsafe",
		Help:           "Whether a restart of the kubelet would fail, or take CPUs from pods that run: 1, or 0 where it would not or that is not certain.",
		StabilityLevel: metrics.ALPHA,
	})
)

// registerMetrics makes this package's metrics visible, with every label value. Only the first call does anything.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(writes, delay, cpus, exactNode, sourcesComplete, restartUnsafe)
	for _, result := range []string{resultWritten, resultFailed, resultRefused} {
		writes.WithLabelValues(result)
	}
	observeCPUs(&v1alpha1.NodeCPUStatus{})
})

func observeCPUs(s *v1alpha1.NodeCPUStatus) {
	shared := int32(lenientLen(s.SharedCPUs))
	for state, n := range map[string]int32{
		"online": s.Summary.CPUs, "reserved": s.Summary.Reserved, "shared": shared, "granted": s.Summary.Granted, "free": s.Summary.Free,
	} {
		cpus.WithLabelValues(state).Set(float64(n))
	}
}

func observe(s *v1alpha1.NodeCPUStatus) {
	observeCPUs(s)
	for kind, gauge := range map[string]*metrics.Gauge{v1alpha1.ConditionExact: exactNode, v1alpha1.ConditionSourcesComplete: sourcesComplete} {
		gauge.Set(0)
		if meta.IsStatusConditionTrue(s.Conditions, kind) {
			gauge.Set(1)
		}
	}
	restartUnsafe.Set(0)
	if meta.IsStatusConditionFalse(s.Conditions, v1alpha1.ConditionRestartSafe) {
		restartUnsafe.Set(1)
	}
}

// lenientLen is the number of CPUs in a list; 0 for a list that does not parse.
func lenientLen(list string) int {
	set, err := cpuset.Parse(list)
	if err != nil {
		return 0
	}
	return set.Len()
}
