// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"corepin.dev/corepin/scheduler/config"
)

// assumed is a pod whose volumes are being provisioned: kube-scheduler's cache has it on the node, and no kubelet has heard
// of it.
func assumed(name, cpus string) *corev1.Pod {
	return launcherPod(name, cpus, func(pod *corev1.Pod) { pod.Spec.NodeName = "n1" })
}

// A node starts any number of VMs whose volumes are being imported.
func TestVMsThatWaitForVolumes(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", nil)
	info := b.node(t, "n1")
	for i := range 8 {
		pod := assumed(fmt.Sprint("vm-", i), "2")
		state := b.preFilter(t, pod)
		if status := b.Filter(t.Context(), state, pod, info); !status.IsSuccess() {
			t.Fatalf("VM %d of 8, with %d of 16 CPUs kept: %s %q", i, 2*i, status.Code(), status.Message())
		}
		b.Reserve(t.Context(), state, pod, "n1")
		info.AddPod(pod)
	}
	b.refuse(t, launcherPod("ninth", "2"), info, ReasonKept)
}

// A binding fails before it was sent: that closes nothing, however long others wait.
func TestAFailedBindingClosesNothing(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", nil)
	v1 := assumed("v1", "2")
	v2 := assumed("v2", "2")
	info := b.node(t, "n1", v1, v2)
	for _, pod := range []*corev1.Pod{v1, v2} {
		b.Reserve(t.Context(), b.preFilter(t, pod), pod, "n1")
	}
	b.refuse(t, launcherPod("vm", "2"), info, "")
	b.Unreserve(t.Context(), framework.NewCycleState(), v2, "n1")
	if err := info.RemovePod(logger(t), v2); err != nil {
		t.Fatal(err)
	}
	b.refuse(t, launcherPod("vm", "2"), info, "")
	b.report(t, "n1", map[string]string{"other": "0,8"})
	b.refuse(t, launcherPod("vm", "2"), info, "")
}

// preempt is what kube-scheduler does on a node: all victims out, then Filter, then those back who can stay.
func (b *fixture) preempt(t *testing.T, pod *corev1.Pod, info *framework.NodeInfo, back ...*corev1.Pod) *fwk.Status {
	t.Helper()
	state, node := b.preFilter(t, pod).Clone(), fwk.NodeInfo(info.Snapshot())
	for _, victim := range info.GetPods() {
		if err := node.RemovePod(logger(t), victim.GetPod()); err != nil {
			t.Fatal(err)
		}
		b.RemovePod(t.Context(), state, pod, victim, node)
	}
	for _, spared := range back {
		podInfo, err := framework.NewPodInfo(spared)
		if err != nil {
			t.Fatal(err)
		}
		node.AddPodInfo(podInfo)
		b.AddPod(t.Context(), state, pod, podInfo, node)
	}
	return b.Filter(t.Context(), state, pod, node)
}

func TestPreemptionOfPodsInFlight(t *testing.T) {
	granted := map[string]string{"a": "0-3,8-11"}
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", granted)
	a := onNode(launcherPod("a", "8"))
	waiting := assumed("waiting", "8")
	bound := onNode(launcherPod("bound", "2"))
	vip := launcherPod("vip", "8")
	if status := b.preempt(t, vip, b.node(t, "n1", a, waiting)); !status.IsSuccess() {
		t.Errorf("instead of one that waits for its volume: %s %q", status.Code(), status.Message())
	}
	if status := b.preempt(t, vip, b.node(t, "n1", a, bound)); status.Message() != ReasonInFlight {
		t.Errorf("instead of one that its kubelet is about to admit: %s %q", status.Code(), status.Message())
	}
	if status := b.preempt(t, vip, b.node(t, "n1", waiting, bound), bound); !status.IsSuccess() {
		t.Errorf("beside one that is spared, which has one NUMA node or the other: %s %q", status.Code(), status.Message())
	}
	large := onNode(launcherPod("large", "6"))
	two := []*corev1.Pod{bound, large}
	if status := b.preempt(t, vip, b.node(t, "n1", append(two, waiting)...), two...); status.Message() != ReasonInFlight {
		t.Errorf("beside two that may have a NUMA node each: %s %q", status.Code(), status.Message())
	}
	b.report(t, "n1", nil)
	if status := b.preempt(t, vip, b.node(t, "n1", waiting, bound), bound); !status.IsSuccess() {
		t.Errorf("beside one that is spared: %s %q", status.Code(), status.Message())
	}
}

// A node is refused for the sake of a VM that others were evicted for. The event says so, and who that is.
func TestTheEventKnowsNominatedPods(t *testing.T) {
	x := newExplained()
	x.report(t, "n1", map[string]string{"a": "0-3,8-11", "victim": "4-5,12-13"})
	victim := onNode(launcherPod("victim", "4", func(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: x.clock.Now()} }))
	vip := launcherPod("vip", "8", func(pod *corev1.Pod) {
		pod.Status.NominatedNodeName = "n1"
		pod.Spec.Priority = new(int32)
		*pod.Spec.Priority = 1
	})
	x.add(x.node(t, "n1", onNode(launcherPod("a", "8")), victim), 32)
	later := launcherPod("later", "2")
	x.nominated = func(node string) []fwk.PodInfo {
		podInfo, err := framework.NewPodInfo(vip)
		if err != nil || node != "n1" {
			t.Fatal(node, err)
		}
		return []fwk.PodInfo{podInfo}
	}
	state := x.preFilter(t, later)
	status := fwk.NewStatus(fwk.Unschedulable, ReasonKept).WithPlugin(Name)
	x.PostFilter(t.Context(), state, later, framework.NewNodeToStatus(map[string]*fwk.Status{"n1": status}, nil))
	for i := range x.questions.asked {
		x.questions.Answer(&x.questions.asked[i])
	}
	if got := x.last(t); !strings.Contains(got, "its CPUs are kept for pod vms/vip") {
		t.Errorf("told %q", got)
	}
}
