// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"corepin.dev/corepin/scheduler/config"
)

// resized is a pod that runs on n1 with other CPUs than its spec asks for: the kubelet calls the resize infeasible.
func resized(pod *corev1.Pod, container int, allocated string) *corev1.Pod {
	start := metav1.NewTime(time.Now().Add(-240 * time.Hour))
	pod.Spec.NodeName = "n1"
	pod.Status.Phase = corev1.PodRunning
	pod.Status.StartTime = &start
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonInfeasible}}
	for i, c := range pod.Spec.Containers {
		amounts := c.Resources.Requests.DeepCopy()
		if i == container {
			amounts[corev1.ResourceCPU] = resource.MustParse(allocated)
		}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, AllocatedResources: amounts})
	}
	return pod
}

// Whether the spec of a sidecar says 200m or, refused by the kubelet, 1 CPU: the pod holds what the report says, and its
// CPUs are not free.
func TestAResizedSidecarFreesNothing(t *testing.T) {
	for name, sidecar := range map[string]string{"not resized": "200m", "resized": "1"} {
		b, vm := newFixture(config.DedicatedCPUArgs{}), launcherPod("vm", "8")
		b.report(t, "n1", map[string]string{"pg": "0-3,8-11", "b": "4,12"})
		pg := guaranteedPod("pg", "8")
		pg.Spec.Containers[1] = container("exporter", sidecar, sidecar)
		info := b.node(t, "n1", resized(pg, 1, "200m"), onNode(launcherPod("b", "2")))
		if got := b.Filter(t.Context(), b.preFilter(t, vm), vm, info).Message(); got != ReasonNoAlignment {
			t.Errorf("%s: refused for %q, want %q", name, got, ReasonNoAlignment)
		}
	}
}

// Pods in the shared pool whose resize to whole CPUs is infeasible are not in flight: no report will ever have them.
func TestResizedPodsAreNotInFlight(t *testing.T) {
	web := func(name string) *corev1.Pod {
		pod := guaranteedPod(name, "2")
		pod.Spec.Containers = pod.Spec.Containers[:1]
		return resized(pod, 0, "1500m")
	}
	b, vm := newFixture(config.DedicatedCPUArgs{}), launcherPod("vm", "2")
	b.report(t, "n1", nil)
	info := b.node(t, "n1", web("w1"), web("w2"), web("w3"), web("w4"))
	if status := b.Filter(t.Context(), b.preFilter(t, vm), vm, info); !status.IsSuccess() {
		t.Errorf("on a node with four such pods: %s %q", status.Code(), status.Message())
	}

	b = newFixture(config.DedicatedCPUArgs{})
	b.known["n1"] = true // a scheduler that has just started
	b.report(t, "n1", nil)
	if status := b.Filter(t.Context(), b.preFilter(t, vm), vm, b.node(t, "n1", web("w1"))); status.Code() == fwk.Pending {
		t.Errorf("after a restart of the scheduler: %s", status.Message())
	}
}

// Preemption takes all pods of lower priority out, as SelectVictimsOnNode does. A resized pod among them does not make
// the node wait for a report.
func TestPreemptionWithAResizedPod(t *testing.T) {
	b, vm := newFixture(config.DedicatedCPUArgs{}), launcherPod("vm", "8")
	b.report(t, "n1", map[string]string{"a": "0-3,8-11", "b": "4-6,12-14"})
	web := guaranteedPod("web", "2")
	info := b.node(t, "n1", onNode(launcherPod("a", "8")), onNode(launcherPod("b", "6")), resized(web, 0, "1500m"))
	state := b.preFilter(t, vm).Clone()
	node := info.SnapshotConcrete()
	for _, victim := range info.GetPods() {
		if err := node.RemovePod(logger(t), victim.GetPod()); err != nil {
			t.Fatal(err)
		}
		podInfo, err := framework.NewPodInfo(victim.GetPod())
		if err != nil {
			t.Fatal(err)
		}
		b.RemovePod(t.Context(), state, vm, podInfo, node)
	}
	if status := b.Filter(t.Context(), state, vm, node); !status.IsSuccess() {
		t.Errorf("with all pods taken out: %s %q", status.Code(), status.Message())
	}
}
