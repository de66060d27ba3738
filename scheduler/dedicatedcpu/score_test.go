package dedicatedcpu

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/scheduler/config"
)

// score is that of a node on which granted pods, one for each CPU list, hold CPUs.
func score(t *testing.T, strategy config.ScoringStrategy, pod *corev1.Pod, lists ...string) int64 {
	t.Helper()
	b := newBench(config.DedicatedCPUArgs{ScoringStrategy: strategy})
	granted, pods := map[string]string{}, []*corev1.Pod(nil)
	for _, list := range lists {
		granted[list] = list
		pods = append(pods, launcherPod(list, "2"))
	}
	b.report(t, "n1", granted)
	info, state := b.node(t, "n1", pods...), b.preFilter(t, pod)
	if status := b.Filter(t.Context(), state, pod, info); !status.IsSuccess() {
		t.Fatalf("the pod does not fit beside %v: %s", lists, status.Message())
	}
	score, status := b.Score(t.Context(), state, pod, info)
	if !status.IsSuccess() || score < MinExactScore || score > fwk.MaxScore {
		t.Fatalf("beside %v: score %d, %s", lists, score, status.Message())
	}
	return score
}

// The picture in the documentation of the argument.
func TestScoringStrategies(t *testing.T) {
	pod := launcherPod("new", "4")
	for strategy, wantOrder := range map[config.ScoringStrategy][][]string{
		config.LeastFragmentation: {{"0-1,8-9"}, {"0,8"}, nil},
		config.MostFree:           {nil, {"0,8"}, {"0-1,8-9"}},
	} {
		last := int64(fwk.MaxScore + 1)
		for _, lists := range wantOrder {
			got := score(t, strategy, pod, lists...)
			if got >= last {
				t.Errorf("%s: beside %v the score is %d, and should be less than %d", strategy, lists, got, last)
			}
			last = got
		}
	}
}

func TestLeastFragmentationKeepsCoresWhole(t *testing.T) {
	rateOf := func(granted map[string]string, pods ...*corev1.Pod) int64 {
		b, pod := newBench(config.DedicatedCPUArgs{}), launcherPod("new", "1")
		b.report(t, "n1", granted, func(s *v1alpha1.NodeCPUStatus) { s.CPUManager.Options = nil })
		score, status := b.Score(t.Context(), b.preFilter(t, pod), pod, b.node(t, "n1", pods...))
		if !status.IsSuccess() {
			t.Fatal(status.Message())
		}
		return score
	}
	// Both NUMA nodes 0 have 5 free CPUs before; on one of them, one is the other half of a taken core.
	half := rateOf(map[string]string{"a": "0-1,8"}, launcherPod("a", "3"))
	whole := rateOf(map[string]string{"a": "0,8", "b": "4,12"}, launcherPod("a", "2"), launcherPod("b", "2"))
	if half <= whole {
		t.Errorf("filling a core scores %d, splitting one %d", half, whole)
	}
}

// At the shipped weight an estimated node must lose against an exact one whatever the stock plugins say;
// scheduler/main_test.go holds the weight to it.
func TestEstimatedNodesScoreLowest(t *testing.T) {
	b, pod := newBench(config.DedicatedCPUArgs{NodesWithoutExactReport: config.Estimate}), launcherPod("new", "4")
	b.report(t, "n1", nil, func(s *v1alpha1.NodeCPUStatus) { s.Conditions = nil })
	info, state := b.node(t, "n1"), b.preFilter(t, pod)
	if status := b.Filter(t.Context(), state, pod, info); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	if score, status := b.Score(t.Context(), state, pod, info); score != 0 || !status.IsSuccess() {
		t.Errorf("score %d, %s", score, status.Message())
	}
}
