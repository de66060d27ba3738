// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/kubelet"
)

// withBlocks is a memory manager's state of two NUMA nodes with 8 GiB each. Pod uid holds gibibytes on NUMA node 0.
func withBlocks(held int64) kubelet.Memory {
	const gib = 1 << 30
	node := func(id int32, reserved, held int64) kubelet.NUMAMemory {
		memory := kubelet.MemoryResource{
			Total: 8 * gib, SystemReserved: reserved, Allocatable: 8*gib - reserved, Reserved: held, Free: 8*gib - reserved - held,
		}
		n := kubelet.NUMAMemory{Group: []int32{id}, Resources: map[string]kubelet.MemoryResource{"memory": memory}}
		if held > 0 {
			n.Assignments = 1
		}
		return n
	}
	m := kubelet.Memory{Policy: "Static", NUMANodes: map[int32]kubelet.NUMAMemory{0: node(0, gib, held*gib), 1: node(1, 0, 0)}}
	if held > 0 {
		block := kubelet.MemoryBlock{NUMANodes: []int32{0}, Type: "memory", Size: held * gib}
		m.Granted = map[types.UID]map[string][]kubelet.MemoryBlock{"uid": {"compute": {block}}}
	}
	return m
}

// A kubelet that starts admits the pods that run with the memory that they hold.
func TestMemoryAtTheKubeletsStart(t *testing.T) {
	beginning := func(memory string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.InitContainers = []corev1.Container{*pod.Spec.Containers[0].DeepCopy()}
			c := &pod.Spec.InitContainers[0]
			c.Name = "begin"
			for _, list := range []corev1.ResourceList{c.Resources.Requests, c.Resources.Limits} {
				list[corev1.ResourceCPU] = resource.MustParse("100m")
				list[corev1.ResourceMemory] = resource.MustParse(memory)
			}
		}
	}
	for name, tc := range map[string]struct {
		state  kubelet.Memory
		change func(*corev1.Pod)
		status metav1.ConditionStatus
		want   string
	}{
		"every pod holds its memory": {withBlocks(1), nil, metav1.ConditionTrue, "leaves every pod its CPUs and its memory"},
		"a pod without its memory":   {withBlocks(0), nil, metav1.ConditionUnknown, "vms/vm-uid (memory_manager_state has not all of its memory"},
		"a static pod by the name that it has at the API server": {withBlocks(1), func(pod *corev1.Pod) {
			pod.UID = "mirror"
			pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "uid"}
		}, metav1.ConditionTrue, ""},
		"an init container that ended finds room":    {withBlocks(1), beginning("2Gi"), metav1.ConditionTrue, ""},
		"an init container that ended finds no room": {withBlocks(1), beginning("9Gi"), metav1.ConditionUnknown, "on account of its memory"},
		"a pod that has failed does not count": {withBlocks(0), func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodFailed },
			metav1.ConditionTrue, ""},
	} {
		f := restarting(t, withMemory, withMemory)
		f.Kubelet.Memory = known(tc.state)
		pod := podOf("uid", "4")
		if tc.change != nil {
			tc.change(pod)
		}
		f.Pods = []*corev1.Pod{pod}
		c := restartOf(f)
		if c.Status != tc.status || !strings.Contains(c.Message, tc.want) {
			t.Errorf("%s: %s (%s): %s; want %s with %q", name, c.Status, c.Reason, c.Message, tc.status, tc.want)
		}
	}
}
