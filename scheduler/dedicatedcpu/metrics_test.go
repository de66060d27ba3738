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
	b := newBench(config.DedicatedCPUArgs{})
	b.report(t, "n1", nil)
	info, fits, large := b.node(t, "n1"), launcherPod("fits", "2"), launcherPod("large", "10")
	state := b.preFilter(t, fits)
	b.Filter(t.Context(), state, fits, info)
	b.PostBind(t.Context(), state, fits, "n1")
	b.refuse(t, large, info, ReasonNeverAligned)
	// Where a pod in flight can't be predicted, the pods after it can't be either.
	gpu, plain := guaranteedPod("gpu", "2"), guaranteedPod("plain", "2")
	gpu.Spec.Containers[0].Resources.Limits["example.com/gpu"] = resource.MustParse("1")
	info.AddPod(gpu)
	state = b.preFilter(t, plain)
	if status := b.Filter(t.Context(), state, plain, info); !status.IsSuccess() {
		t.Errorf("behind a pod with a GPU: %s", status.Message())
	}
	b.PostBind(t.Context(), state, plain, "n1")
	b.wakeAll(logger(t))
	want := `
# HELP corepin_scheduler_bound_pods_total [ALPHA] Pods asking for exclusive CPUs that were bound, by what was known of the node: exact, estimated, or no_cpu_manager.
# TYPE corepin_scheduler_bound_pods_total counter
corepin_scheduler_bound_pods_total{prediction="estimated"} 1
corepin_scheduler_bound_pods_total{prediction="exact"} 1
# HELP corepin_scheduler_node_refusals_total [ALPHA] Nodes that Filter refused to pods asking for exclusive CPUs, by reason; reason misfit counts launcher pods that no kubelet would give what their VM asks for.
# TYPE corepin_scheduler_node_refusals_total counter
corepin_scheduler_node_refusals_total{reason="never_aligned"} 1
# HELP corepin_scheduler_woken_pods_total [ALPHA] Waiting pods that were tried again because a node's CPU report had room for them.
# TYPE corepin_scheduler_woken_pods_total counter
corepin_scheduler_woken_pods_total 1
`
	if err := testutil.GatherAndCompare(legacyregistry.DefaultGatherer, strings.NewReader(want),
		"corepin_scheduler_bound_pods_total", "corepin_scheduler_node_refusals_total", "corepin_scheduler_woken_pods_total"); err != nil {
		t.Error(err)
	}
}
