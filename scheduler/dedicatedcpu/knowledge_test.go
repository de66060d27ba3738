package dedicatedcpu

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/scheduler/config"
)

// sibling adds a plugin for one more profile to what b knows, with a queue of its own.
func (b *bench) sibling() *bench {
	other := newBench(config.DedicatedCPUArgs{})
	other.knowledge, other.DedicatedCPU.nodes = b.knowledge, b.DedicatedCPU.nodes
	b.serve(other.DedicatedCPU)
	return other
}

// A report wakes the waiting pods of every profile, and a pod that is gone waits in none.
func TestProfilesShareWhatIsKnown(t *testing.T) {
	first := newBench(config.DedicatedCPUArgs{})
	second := first.sibling()
	first.node(t, "n1")
	first.report(t, "n1", nil)
	pods := map[*bench]*corev1.Pod{first: guaranteedPod("one", "4"), second: guaranteedPod("two", "4")}
	for b, pod := range pods {
		if err := b.podLister.Add(pod); err != nil {
			t.Fatal(err)
		}
		d, _ := b.demandOf(pod)
		b.wait(pod, d)
	}
	first.each(func(pl *DedicatedCPU) { pl.reportChanged(logger(t), "n1") })
	for b, pod := range pods {
		if len(b.queue) != 1 || !b.queue[pod.Namespace+"/"+pod.Name] {
			t.Errorf("the report woke %v, want %s", b.queue, pod.Name)
		}
	}
	second.podEvents(t.Context()).OnDelete(pods[first])
	for b, want := range map[*bench]int{first: 0, second: 1} {
		if got := len(b.waiting.pods); got != want {
			t.Errorf("%d pods wait, want %d", got, want)
		}
	}
}

// A pod that one profile binds is compared once with what the kubelet did, whichever profile looks at the node next.
func TestABoundPodIsExpectedByAllProfiles(t *testing.T) {
	first := newBench(config.DedicatedCPUArgs{})
	second := first.sibling()
	pod := guaranteedPod("one", "4")
	node := first.node(t, "n1")
	first.report(t, "n1", nil)
	state := first.preFilter(t, pod)
	if status := first.Filter(t.Context(), state, pod, node); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	first.Reserve(t.Context(), state, pod, "n1")
	pod.Spec.NodeName = "n1"
	if !second.view.Expects(pod) {
		t.Error("the other profile does not expect the pod")
	}
}
