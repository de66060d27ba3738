// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"corepin.dev/corepin/scheduler/config"
)

func onNode(pod *corev1.Pod, node ...string) *corev1.Pod {
	pod.Spec.NodeName = append(node, "n1")[0]
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	return pod
}

func TestHints(t *testing.T) {
	labelledNode := st.MakeNode().Name("n1").Label("cpumanager", "true").Obj()
	relabelled := st.MakeNode().Name("n1").Label("cpumanager", "true").Label("zone", "b").Obj()
	plainNode := st.MakeNode().Name("n1").Obj()
	vm, plain := launcherPod("vm", "4"), guaranteedPod("plain", "4")
	gone := func(pl *DedicatedCPU) fwk.QueueingHintFn { return pl.afterPodDelete }
	changed := func(pl *DedicatedCPU) fwk.QueueingHintFn { return pl.afterNodeChange }
	updated := func(*DedicatedCPU) fwk.QueueingHintFn { return afterPodUpdate }
	for name, test := range map[string]struct {
		hint     func(*DedicatedCPU) fwk.QueueingHintFn
		pod      *corev1.Pod
		old, new any
		want     fwk.QueueingHint
		wantErr  bool
	}{
		"a pod with exclusive CPUs goes":          {hint: gone, pod: vm, old: onNode(guaranteedPod("a", "2")), want: fwk.Queue},
		"a pod goes that leaves too little":       {hint: gone, pod: vm, old: onNode(guaranteedPod("b", "2")), want: fwk.QueueSkip},
		"a pod goes from a node that is gone too": {hint: gone, pod: vm, old: onNode(guaranteedPod("a", "4"), "n9"), want: fwk.QueueSkip},
		"a pod goes from a node without report":   {hint: gone, pod: vm, old: onNode(guaranteedPod("a", "4"), "n2"), want: fwk.Queue},
		"a pod with fractions goes":               {hint: gone, pod: vm, old: onNode(guaranteedPod("a", "1500m")), want: fwk.QueueSkip},
		"a Burstable pod goes":                    {hint: gone, pod: vm, old: onNode(launcherPod("a", "2", burstable)), want: fwk.QueueSkip},
		"a waiting pod is deleted":                {hint: gone, pod: vm, old: guaranteedPod("a", "2"), want: fwk.QueueSkip},
		"room made for no one":                    {hint: gone, pod: launcherPod("vm", "1500m"), old: onNode(guaranteedPod("a", "2")), want: fwk.QueueSkip},
		"a node comes for no one":                 {hint: changed, pod: launcherPod("vm", "1500m"), new: labelledNode, want: fwk.QueueSkip},
		"something strange goes":                  {hint: gone, pod: vm, old: labelledNode, want: fwk.Queue, wantErr: true},
		"the pod asks for less":                   {hint: updated, pod: vm, old: vm, new: launcherPod("vm", "2"), want: fwk.Queue},
		"the pod asks for the same":               {hint: updated, pod: vm, old: vm, new: launcherPod("vm", "4"), want: fwk.QueueSkip},
		"another pod asks for less":               {hint: updated, pod: vm, old: guaranteedPod("a", "4"), new: guaranteedPod("a", "2"), want: fwk.QueueSkip},
		"something strange changes":               {hint: updated, pod: vm, old: vm, want: fwk.Queue, wantErr: true},
		"a node for VMs comes":                    {hint: changed, pod: vm, new: labelledNode, want: fwk.Queue},
		"a node not for VMs comes":                {hint: changed, pod: vm, new: plainNode, want: fwk.QueueSkip},
		"any node comes, for a plain pod":         {hint: changed, pod: plain, new: plainNode, want: fwk.Queue},
		"a node gets the label":                   {hint: changed, pod: vm, old: plainNode, new: labelledNode, want: fwk.Queue},
		"a node loses the label":                  {hint: changed, pod: vm, old: labelledNode, new: plainNode, want: fwk.QueueSkip},
		"a node gets another label":               {hint: changed, pod: vm, old: labelledNode, new: relabelled, want: fwk.QueueSkip},
		"something strange comes as a node":       {hint: changed, pod: vm, new: vm, want: fwk.Queue, wantErr: true},
		"a pod that is a VM's no longer":          {hint: updated, pod: vm, old: vm, new: guaranteedPod("vm", "4"), want: fwk.Queue},
		"a pod that is no longer a launcher":      {hint: updated, pod: vm, old: vm, new: guaranteedPod("vm", "1500m"), want: fwk.Queue},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{})
			b.node(t, "n1")
			b.node(t, "n2")
			b.report(t, "n1", map[string]string{"a": "0-1,8-9", "b": "2,10", "c": "3,11", "d": "4-7,12-15"})
			got, err := test.hint(b.DedicatedCPU)(logger(t), test.pod, test.old, test.new)
			if got != test.want || (err != nil) != test.wantErr {
				t.Errorf("got %s, error %v; want %s", got, err, test.want)
			}
		})
	}
}

// A pod refused by the plugin and woken by nothing would be stuck: each kind of event it names has a hint,
// and none needs the CRD.
func TestEventsToRegister(t *testing.T) {
	events, err := newFixture(config.DedicatedCPUArgs{}).EventsToRegister(t.Context())
	if err != nil || len(events) == 0 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for _, event := range events {
		if event.QueueingHintFn == nil {
			t.Errorf("%s has no hint", event.Event.Label())
		}
		if event.Event.Resource != fwk.Pod && event.Event.Resource != fwk.Node {
			t.Errorf("%s: kube-scheduler would wait for a watch of %s", event.Event.Label(), event.Event.Resource)
		}
	}
}

// Two pods leave a node one after the other, and no scheduling cycle and no report comes between. The first frees too
// little, both together free enough. The hint itself changes nothing: asked again, it gives the same answer.
func TestHintCountsAllThatLeft(t *testing.T) {
	b, vm := newFixture(config.DedicatedCPUArgs{}), launcherPod("vm", "4")
	b.node(t, "n1")
	b.report(t, "n1", map[string]string{"a": "0-1,8-9", "b": "2,10", "c": "3,11", "d": "4-7,12-15"})
	first := onNode(guaranteedPod("b", "2"))
	second := onNode(guaranteedPod("c", "2"))
	hint := func(when string, gone *corev1.Pod, want fwk.QueueingHint) {
		t.Helper()
		if got, err := b.afterPodDelete(logger(t), vm, gone, nil); got != want || err != nil {
			t.Errorf("%s: %s, error %v; want %s", when, got, err, want)
		}
	}
	hint("one pod is deleted", first, fwk.QueueSkip)
	hint("the other is deleted, and the hint for the first has been asked", second, fwk.QueueSkip)
	b.podEvents().OnDelete(first)
	hint("the other is deleted, and the view knows of the first", second, fwk.Queue)
	hint("the first is asked about again", first, fwk.QueueSkip)
}
