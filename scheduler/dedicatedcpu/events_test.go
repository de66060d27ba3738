package dedicatedcpu

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"corepin.dev/corepin/scheduler/config"
)

func onNode(pod *corev1.Pod) *corev1.Pod {
	pod.Spec.NodeName = "n1"
	return pod
}

func TestHints(t *testing.T) {
	labelledNode := st.MakeNode().Name("n1").Label("cpumanager", "true").Obj()
	relabelled := st.MakeNode().Name("n1").Label("cpumanager", "true").Label("zone", "b").Obj()
	plainNode := st.MakeNode().Name("n1").Obj()
	vm, plain := launcherPod("vm", "4"), guaranteedPod("plain", "4")
	for name, test := range map[string]struct {
		hint     fwk.QueueingHintFn
		pod      *corev1.Pod
		old, new any
		want     fwk.QueueingHint
		wantErr  bool
	}{
		"a pod with exclusive CPUs goes":     {hint: afterPodDelete, pod: vm, old: onNode(guaranteedPod("a", "2")), want: fwk.Queue},
		"a pod with fractions goes":          {hint: afterPodDelete, pod: vm, old: onNode(guaranteedPod("a", "1500m")), want: fwk.QueueSkip},
		"a Burstable pod goes":               {hint: afterPodDelete, pod: vm, old: onNode(launcherPod("a", "2", burstable)), want: fwk.QueueSkip},
		"a waiting pod is deleted":           {hint: afterPodDelete, pod: vm, old: guaranteedPod("a", "2"), want: fwk.QueueSkip},
		"room made for no one":               {hint: afterPodDelete, pod: launcherPod("vm", "1500m"), old: onNode(guaranteedPod("a", "2")), want: fwk.QueueSkip},
		"a node comes for no one":            {hint: afterNodeChange, pod: launcherPod("vm", "1500m"), new: labelledNode, want: fwk.QueueSkip},
		"something strange goes":             {hint: afterPodDelete, pod: vm, old: labelledNode, want: fwk.Queue, wantErr: true},
		"the pod asks for less":              {hint: afterPodUpdate, pod: vm, old: vm, new: launcherPod("vm", "2"), want: fwk.Queue},
		"the pod asks for the same":          {hint: afterPodUpdate, pod: vm, old: vm, new: launcherPod("vm", "4"), want: fwk.QueueSkip},
		"another pod asks for less":          {hint: afterPodUpdate, pod: vm, old: guaranteedPod("a", "4"), new: guaranteedPod("a", "2"), want: fwk.QueueSkip},
		"something strange changes":          {hint: afterPodUpdate, pod: vm, old: vm, want: fwk.Queue, wantErr: true},
		"a node for VMs comes":               {hint: afterNodeChange, pod: vm, new: labelledNode, want: fwk.Queue},
		"a node not for VMs comes":           {hint: afterNodeChange, pod: vm, new: plainNode, want: fwk.QueueSkip},
		"any node comes, for a plain pod":    {hint: afterNodeChange, pod: plain, new: plainNode, want: fwk.Queue},
		"a node gets the label":              {hint: afterNodeChange, pod: vm, old: plainNode, new: labelledNode, want: fwk.Queue},
		"a node loses the label":             {hint: afterNodeChange, pod: vm, old: labelledNode, new: plainNode, want: fwk.QueueSkip},
		"a node gets another label":          {hint: afterNodeChange, pod: vm, old: labelledNode, new: relabelled, want: fwk.QueueSkip},
		"something strange comes as a node":  {hint: afterNodeChange, pod: vm, new: vm, want: fwk.Queue, wantErr: true},
		"a pod that is a VM's no longer":     {hint: afterPodUpdate, pod: vm, old: vm, new: guaranteedPod("vm", "4"), want: fwk.Queue},
		"a pod that is no longer a launcher": {hint: afterPodUpdate, pod: vm, old: vm, new: guaranteedPod("vm", "1500m"), want: fwk.Queue},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := test.hint(logger(t), test.pod, test.old, test.new)
			if got != test.want || (err != nil) != test.wantErr {
				t.Errorf("got %s, error %v; want %s", got, err, test.want)
			}
		})
	}
}

// A pod refused by the plugin and woken by nothing would be stuck: each kind of event it names has a hint,
// and none needs the CRD.
func TestEventsToRegister(t *testing.T) {
	events, err := newBench(config.DedicatedCPUArgs{}).EventsToRegister(t.Context())
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
