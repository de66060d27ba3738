package dedicatedcpu

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"

	"corepin.dev/corepin/scheduler/config"
)

func TestMetrics(t *testing.T) {
	registerMetrics()
	registerMetrics() // once for each profile
	legacyregistry.Reset()
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", nil)
	info, fits, large := b.node(t, "n1"), launcherPod("fits", "2"), launcherPod("large", "10")
	state := b.preFilter(t, fits)
	b.Filter(t.Context(), state, fits, info)
	b.PostBind(t.Context(), state, fits, "n1")
	b.refuse(t, large, info, ReasonNeverAligned)
	simulated := b.preFilter(t, large).Clone()
	if got := b.Filter(t.Context(), simulated, large, info).Message(); got != ReasonNeverAligned {
		t.Errorf("a simulation for the large VM: %q", got)
	}
	// If a pod in flight can't be predicted, the pods after it can't be either.
	gpu, plain := guaranteedPod("gpu", "2"), guaranteedPod("plain", "2")
	gpu.Spec.Containers[0].Resources.Limits["example.com/gpu"] = resource.MustParse("1")
	info.AddPod(gpu)
	state = b.preFilter(t, plain)
	if status := b.Filter(t.Context(), state, plain, info); !status.IsSuccess() {
		t.Errorf("behind a pod with a GPU: %s", status.Message())
	}
	b.PostBind(t.Context(), state, plain, "n1")
	b.pend(t, large, b.podDemand(large))
	b.wakeAll()
	want := `
# HELP corepin_scheduler_bound_pods_total [ALPHA] Bound pods that ask for exclusive CPUs, by what was known of the node: exact, estimated, or no_cpu_manager.
# TYPE corepin_scheduler_bound_pods_total counter
corepin_scheduler_bound_pods_total{prediction="estimated"} 1
corepin_scheduler_bound_pods_total{prediction="exact"} 1
# HELP corepin_scheduler_node_refusals_total [ALPHA] Nodes that Filter refused to pods that ask for exclusive CPUs, by reason, simulations of preemption not included. Reason misfit counts launcher pods that are refused on every node.
# TYPE corepin_scheduler_node_refusals_total counter
corepin_scheduler_node_refusals_total{reason="never_aligned"} 1
# HELP corepin_scheduler_woken_pods_total [ALPHA] Pending pods that were tried again because a CPU report or a VM had changed.
# TYPE corepin_scheduler_woken_pods_total counter
corepin_scheduler_woken_pods_total 1
`
	if err := testutil.GatherAndCompare(legacyregistry.DefaultGatherer, strings.NewReader(want),
		"corepin_scheduler_bound_pods_total", "corepin_scheduler_node_refusals_total", "corepin_scheduler_woken_pods_total"); err != nil {
		t.Error(err)
	}
}

// An alert on the first increase needs a counter that was 0 before.
func TestCountersStartAtZero(t *testing.T) {
	registerMetrics()
	legacyregistry.Reset()
	zeroMetrics()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]int{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			series[family.GetName()]++
			if value := metric.GetCounter().GetValue(); strings.HasPrefix(family.GetName(), "corepin_") && value != 0 {
				t.Errorf("%s%v starts at %v", family.GetName(), metric.GetLabel(), value)
			}
		}
	}
	labels := map[string]bool{labelMisfit: true}
	for _, r := range allRefusals() {
		labels[r.label] = true
	}
	for name, want := range map[string]int{
		"corepin_scheduler_node_refusals_total": len(labels),
		"corepin_scheduler_bound_pods_total":    3,
		"corepin_scheduler_woken_pods_total":    1,
	} {
		if got := series[name]; got != want {
			t.Errorf("%s has %d series at the start, want %d", name, got, want)
		}
	}
}
