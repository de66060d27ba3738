// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
)

// ordinary is a Guaranteed pod without CPUs of its own.
func ordinary(name, memory string) *corev1.Pod {
	pod := vm(name, "20m")
	pod.Spec.Containers = pod.Spec.Containers[:1]
	for _, list := range []corev1.ResourceList{pod.Spec.Containers[0].Resources.Requests, pod.Spec.Containers[0].Resources.Limits} {
		list[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return pod
}

// Under memory manager policy Static ordinary pods come and go. A VM waits only where it depends on whether one in flight came
// before another one had left.
func TestOrdinaryPodsInFlight(t *testing.T) {
	const gib = 1 << 30
	for name, test := range map[string]struct {
		free     [2]uint64 // GiB of the NUMA nodes while the pod that has left holds gone GiB of NUMA node 0
		gone     uint64
		inFlight []*corev1.Pod
		change   func(*Pod)
		want     Obstacle
	}{
		"nobody is in flight":                              {free: [2]uint64{4, 16}, gone: 2, want: None},
		"one that has room anyhow":                         {free: [2]uint64{4, 16}, gone: 2, inFlight: []*corev1.Pod{ordinary("a", "1Gi")}, want: None},
		"two that have room anyhow":                        {free: [2]uint64{4, 16}, gone: 2, inFlight: []*corev1.Pod{ordinary("a", "1Gi"), ordinary("b", "2Gi")}, want: None},
		"one that had no room, and the VM has room anyhow": {free: [2]uint64{1, 16}, gone: 2, inFlight: []*corev1.Pod{ordinary("a", "2Gi")}, want: None},
		"two of which one had none":                        {free: [2]uint64{2, 4}, gone: 1, inFlight: []*corev1.Pod{ordinary("a", "3Gi"), ordinary("b", "2Gi")}, want: InFlight},
		"a VM":                                             {free: [2]uint64{4, 16}, gone: 2, inFlight: []*corev1.Pod{vm("a", "2")}, want: None},
		"one that is doubtful": {free: [2]uint64{4, 16}, gone: 2, inFlight: []*corev1.Pod{ordinary("a", "1Gi")},
			change: func(p *Pod) { p.Doubtful = true }, want: InFlight},
		"one whose place is kept": {free: [2]uint64{1, 16}, gone: 2, inFlight: []*corev1.Pod{ordinary("a", "2Gi")},
			change: func(p *Pod) { p.Kept = true }, want: None},
	} {
		report := reportOf(t, nil)
		held := memorymanager.Held{Container: "c", Block: memorymanager.Block{NUMANodes: 1, Quantity: memorymanager.Quantity{Type: "memory", Bytes: test.gone * gib}}}
		report.Held = map[types.UID]admission.Held{"gone": {Memory: []memorymanager.Held{held}}}
		report.Node.MemoryManager = memorymanager.PolicyStatic
		report.Node.Memory = &memorymanager.State{Types: []string{"memory"}}
		for i, free := range test.free {
			node := memorymanager.NUMANode{Group: 1 << i, Memory: []memorymanager.Amount{{Total: 32 * gib, Allocatable: 32 * gib, Reserved: (32 - free) * gib, Free: free * gib}}}
			if i == 0 {
				node.Assignments = 1
			}
			report.Node.Memory.NUMANodes = append(report.Node.Memory.NUMANodes, node)
		}
		n := New(nodeObject(), report, podsOf(test.inFlight))
		for i := range n.Pods {
			if test.change != nil {
				test.change(&n.Pods[i])
			}
		}
		d := DemandOf(vm("new", "2"))
		d.Dedicated = true
		v := Of(&n, &d)
		if v.Obstacle != test.want {
			t.Errorf("%s: obstacle %q (%s), want %q", name, v.Obstacle, v.Why, test.want)
		}
	}
}

// A VM waits for a pod in flight only where it depends on whether that came before another had left. It is known of a pod whose
// binding came after that.
func TestPodsThatLeaveBesideOthersInFlight(t *testing.T) {
	for name, test := range map[string]struct {
		granted  map[string]string // the report's; the pods whose names begin with gone have left
		inFlight *corev1.Pod
		after    []types.UID
		asks     string
		want     Obstacle
	}{
		"there is room in every order":       {map[string]string{"gone": "1,9"}, vm("a", "2"), nil, "4", None},
		"there is none in any order":         {map[string]string{"gone": "1,9", "stays": "4-7,12-15"}, vm("a", "4"), nil, "8", Kubelet},
		"there is in one":                    {map[string]string{"gone": "1-2,9-10"}, vm("a", "4"), nil, "8", InFlight},
		"it was bound after the pod left":    {map[string]string{"gone": "1-2,9-10"}, vm("a", "4"), []types.UID{"gone"}, "8", None},
		"it was bound after one of two left": {map[string]string{"gone": "1,9", "gone2": "2-3,10-11"}, vm("a", "4"), []types.UID{"gone"}, "8", InFlight},
	} {
		report := reportOf(t, test.granted)
		pods := podsOf([]*corev1.Pod{test.inFlight})
		pods[0].After = test.after
		if test.granted["stays"] != "" {
			pods = append(pods, podsOf([]*corev1.Pod{vm("stays", "8")})...)
		}
		n := New(nodeObject(), report, pods)
		d := DemandOf(vm("new", test.asks))
		d.Dedicated = true
		v := Of(&n, &d)
		if v.Obstacle != test.want {
			t.Errorf("%s: obstacle %q (%s), want %q", name, v.Obstacle, v.Why, test.want)
		}
	}
}

// A pod that is not bound yet comes after all that have left. It may come before those that preemption would evict.
func TestPodsThatAreNotBoundBesideVictims(t *testing.T) {
	unbound := podsOf([]*corev1.Pod{vm("a", "4")})
	unbound[0].Unbound = true
	unbound[0].Kept = true
	n := New(nodeObject(), reportOf(t, map[string]string{"gone": "1-2,9-10"}), unbound)
	d := DemandOf(vm("new", "8"))
	d.Dedicated = true
	if v := Of(&n, &d); v.Obstacle != None {
		t.Errorf("beside a pod that has left: obstacle %q (%s)", v.Obstacle, v.Why)
	}
	n.Pods[0].After = nil // as for a victim
	if v := Of(&n, &d); v.Obstacle != Kept {
		t.Errorf("beside a victim: obstacle %q (%s), want %q", v.Obstacle, v.Why, Kept)
	}
}

// A pod in flight that cannot be predicted makes only those inexact that depend on it.
func TestInexactPodsInFlight(t *testing.T) {
	asking := func(resources ...corev1.ResourceName) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			for _, name := range resources {
				pod.Spec.Containers[0].Resources.Limits[name] = resource.MustParse("1")
			}
		}
	}
	group := devicemanager.Group{NUMANodes: 1, Devices: 4, Healthy: 4, Free: 4}
	unknown := devicemanager.Resource{Name: "intel.com/vf", Unknown: "its plugin has gone", Groups: []devicemanager.Group{group}}
	known := devicemanager.Resource{Name: "nvidia.com/gpu", Groups: []devicemanager.Group{group}}
	for name, test := range map[string]struct {
		inFlight *corev1.Pod
		want     Obstacle
	}{
		"another VM that asks for it":            {vm("a", "2", asking("intel.com/vf")), Inexact},
		"a pod that asks for it":                 {ordinaryWith("a", asking("intel.com/vf")), None},
		"a pod that shares a device with the VM": {ordinaryWith("a", asking("intel.com/vf", "nvidia.com/gpu")), Inexact},
	} {
		report := reportOf(t, nil)
		report.Node.Devices = &devicemanager.State{Resources: []devicemanager.Resource{unknown, known}}
		n := New(nodeObject(), report, podsOf([]*corev1.Pod{test.inFlight}))
		d := DemandOf(vm("new", "2", asking("nvidia.com/gpu")))
		d.Dedicated = true
		v := Of(&n, &d)
		if v.Obstacle != test.want {
			t.Errorf("%s: obstacle %q (%s), want %q", name, v.Obstacle, v.Why, test.want)
		}
	}
}

func ordinaryWith(name string, change func(*corev1.Pod)) *corev1.Pod {
	pod := ordinary(name, "1Gi")
	change(pod)
	return pod
}
