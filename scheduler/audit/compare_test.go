// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/admission"
)

// Free at first are 1-3,9-11 (NUMA node 0, which comes first while it has fewer) and 4-7,12-15.
func TestCompared(t *testing.T) {
	for name, test := range map[string]struct {
		before   grants
		expected []*corev1.Pod
		after    grants
		change   func(*v1alpha1.NodeCPU)
		want     int
		mismatch string
	}{
		"as predicted":        {expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("1,9")}, want: 1},
		"nothing came":        {expected: []*corev1.Pod{vm("a", "2")}, after: grants{}},
		"not as predicted":    {expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("2,10")}, want: 1, mismatch: "add a: compute 2, hook shared\n= admitted: compute 2,10\n"},
		"in either order":     {expected: []*corev1.Pod{vm("a", "2"), vm("b", "4")}, after: grants{"b": compute("1-2,9-10"), "a": compute("3,11")}, want: 2},
		"in the other order":  {expected: []*corev1.Pod{vm("a", "2"), vm("b", "4")}, after: grants{"a": compute("1,9"), "b": compute("2-3,10-11")}, want: 2},
		"in no order":         {expected: []*corev1.Pod{vm("a", "2"), vm("b", "4")}, after: grants{"a": compute("1,9"), "b": compute("4-5,12-13")}, want: 2, mismatch: "add b"},
		"one of two has come": {expected: []*corev1.Pod{vm("a", "2"), vm("b", "4")}, after: grants{"b": compute("1-2,9-10")}, want: 1},
		"after another left":  {before: grants{"x": compute("1,9")}, expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("1,9")}, want: 1},
		"before another left": {before: grants{"x": compute("1,9")}, expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("2,10")}, want: 1},
		"one before and one after another left": {
			before: grants{"x": compute("1,9")}, expected: []*corev1.Pod{vm("a", "2"), vm("b", "4")},
			after: grants{"a": compute("2,10"), "b": compute("1,3,9,11")}, want: 2,
		},
		"beside one that is held": {
			before: grants{"x": compute("1,9")}, expected: []*corev1.Pod{vm("a", "2")}, after: grants{"x": compute("1,9"), "a": compute("3,11")},
			want: 1, mismatch: "reserved 0,8\nadd held-1: compute 2\nadd a",
		},
		"granted by half in the report before": {
			before: grants{"": compute("1,9")}, expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("1,9")}, want: 1,
		},
		"with a stranger": {expected: []*corev1.Pod{vm("a", "2")}, after: grants{"stranger": compute("1,9"), "a": compute("2,10")}},
		"of a kubelet with other options": {
			expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("2,10")},
			change: func(nc *v1alpha1.NodeCPU) { nc.Status.TopologyManager.Policy = "restricted" },
		},
		"by a report that is not exact": {
			expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("2,10")},
			change: func(nc *v1alpha1.NodeCPU) { nc.Status.Conditions[0].Status = metav1.ConditionFalse },
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.report(nodeCPU(test.before))
			f.expect(test.expected...)
			var changes []func(*v1alpha1.NodeCPU)
			if test.change != nil {
				changes = append(changes, test.change)
			}
			got := f.report(nodeCPU(test.after, changes...))
			if got.pods != test.want || (got.scenario != "") != (test.mismatch != "") || !strings.Contains(got.scenario, test.mismatch) {
				t.Errorf("compared %d pods, scenario:\n%s\nwant %d, %q", got.pods, got.scenario, test.want, test.mismatch)
			}
		})
	}
}

// A pod has gone whose device the kubelet takes back only when the next one comes.
func TestComparedAfterADeviceWasGivenBack(t *testing.T) {
	for cpus, mismatch := range map[string]bool{"4,12": false, "1,9": true} {
		f := newFixture(t, nil)
		f.report(nodeCPU(nil, holding("gone")))
		a := vm("a", "2")
		a.Spec.Containers[0].Resources.Limits[card] = resource.MustParse("1") // the list of requests is the same one
		f.expect(a)
		got := f.report(nodeCPU(grants{"a": compute(cpus)}, holding("a")))
		if got.pods != 1 || (got.scenario != "") != mismatch {
			t.Errorf("CPUs %s: compared %d pods, scenario:\n%s", cpus, got.pods, got.scenario)
		}
	}
}

// The kubelet has given back all of a pod that has gone. Its checkpoint of devices, which it has not written since, has it still.
func TestComparedBesideAnOldDeviceCheckpoint(t *testing.T) {
	f := newFixture(t, nil)
	f.report(nodeCPU(grants{"gone": compute("1,9")}, holding("gone")))
	f.expect(vm("a", "2"))
	got := f.report(nodeCPU(grants{"a": compute("1,9")}, holding("gone")))
	if got.pods != 1 || got.scenario != "" {
		t.Errorf("compared %d pods, scenario:\n%s", got.pods, got.scenario)
	}
}

// The report before was made while the kubelet admitted the pod: it has the pod's device and not its CPUs.
func TestComparedWithADeviceInTheReportBefore(t *testing.T) {
	for cpus, mismatch := range map[string]bool{"4,12": false, "1,9": true} {
		f := newFixture(t, nil)
		f.report(nodeCPU(nil, holding("")))
		a := vm("a", "2")
		a.Spec.Containers[0].Resources.Limits[card] = resource.MustParse("1")
		f.expect(a)
		if got := f.report(nodeCPU(nil, holding("a"))); got.pods != 0 {
			t.Errorf("compared %d pods by half of what they get", got.pods)
		}
		got := f.report(nodeCPU(grants{"a": compute(cpus)}, holding("a")))
		if got.pods != 1 || (got.scenario != "") != mismatch {
			t.Errorf("CPUs %s: compared %d pods, scenario:\n%s", cpus, got.pods, got.scenario)
		}
	}
}

// The report before has the CPUs of one of a pod's two containers. What comes with the rest of it is compared, too.
func TestComparedWithAContainerInTheReportBefore(t *testing.T) {
	f := newFixture(t, nil)
	f.report(nodeCPU(nil))
	a := vm("a", "2")
	second := a.Spec.Containers[0]
	second.Name = "second"
	a.Spec.Containers = append(a.Spec.Containers, second)
	f.expect(a, vm("b", "2"))
	half := compute("1,9")
	if got := f.report(nodeCPU(grants{"a": half})); got.pods != 0 {
		t.Errorf("compared %d pods by half of what they get", got.pods)
	}
	whole := compute("1,9")
	whole["second"] = cpuSet("2,10")
	got := f.report(nodeCPU(grants{"a": whole, "b": compute("3,11")}))
	if got.pods != 2 || got.scenario != "" {
		t.Errorf("compared %d pods, scenario:\n%s", got.pods, got.scenario)
	}
	if len(f.nodes)+len(f.where) > 0 {
		t.Errorf("expected still: %v, %v", f.nodes, f.where)
	}
}

// A pod that gets no more than a part of what it asks for is not expected for ever.
func TestHalfAPodIsNotExpectedForEver(t *testing.T) {
	f := newFixture(t, nil)
	f.report(nodeCPU(nil, holding("")))
	a := vm("a", "2")
	a.Spec.Containers[0].Resources.Limits[card] = resource.MustParse("1")
	f.expect(a)
	f.report(nodeCPU(nil, holding("a")))
	f.report(nodeCPU(grants{"x": compute("1,9")}, holding("a")))
	f.expect(vm("b", "2"))
	if got := f.report(nodeCPU(grants{"x": compute("1,9"), "b": compute("2,10")}, holding("a"))); got.pods != 1 || got.scenario != "" {
		t.Errorf("compared %d pods, scenario:\n%s", got.pods, got.scenario)
	}
}

// Pods that hold no CPUs may decide where others get theirs. One that nobody expected leaves nothing to compare.
func TestNotComparedBesideAStrangersDevice(t *testing.T) {
	f := newFixture(t, nil)
	f.report(nodeCPU(nil, holding("")))
	f.expect(vm("a", "2"))
	if got := f.report(nodeCPU(grants{"a": compute("1,9")}, holding("stranger"))); got.pods != 0 {
		t.Errorf("compared %d pods", got.pods)
	}
}

// The report before was made between two writes of the memory manager: the pod's memory is taken, and nobody has it.
func TestNotComparedWithATornReportBefore(t *testing.T) {
	f := newFixture(t, nil)
	f.report(nodeCPU(nil, memory(0, 0)))
	f.expect(vm("a", "2"))
	f.report(nodeCPU(grants{"a": compute("1,9")}, memory(1, 8)))
	got := f.report(nodeCPU(grants{"a": compute("1,9")}, memory(2, 2, "compute", "hook")))
	if got.pods != 0 || got.scenario != "" {
		t.Errorf("compared %d pods, scenario:\n%s", got.pods, got.scenario)
	}
	f.expect(vm("b", "2"))
	if got := f.report(nodeCPU(grants{"a": compute("1,9"), "b": compute("2,10")}, memory(2, 2, "compute", "hook"))); got.pods != 0 {
		t.Errorf("compared %d pods by half of what they get", got.pods)
	}
}

// memory gives the node a memory manager with 8 GiB on each NUMA node, so many of them taken on NUMA node 0. Containers of pod a
// have 1 GiB each.
func memory(assignments int32, taken int64, containers ...string) func(*v1alpha1.NodeCPU) {
	const gib = int64(1) << 30
	return func(nc *v1alpha1.NodeCPU) {
		m := &nc.Status.MemoryManager
		m.Policy = "Static"
		for id := range int32(2) {
			one := v1alpha1.NUMAMemory{ID: id, Group: []int32{id}, Resources: []v1alpha1.MemoryResource{{Type: "memory", Total: 8 * gib, Allocatable: 8 * gib, Free: 8 * gib}}}
			if id == 0 {
				one.Assignments = assignments
				one.Resources[0].Reserved = taken * gib
				one.Resources[0].Free -= taken * gib
			}
			m.NUMANodes = append(m.NUMANodes, one)
		}
		var held []v1alpha1.ContainerMemory
		for _, name := range containers {
			held = append(held, v1alpha1.ContainerMemory{Name: name, Blocks: []v1alpha1.MemoryBlock{{Type: "memory", NUMANodes: []int32{0}, Size: gib}}})
		}
		if len(held) > 0 {
			m.Granted = []v1alpha1.PodMemory{{PodUID: "a", Containers: held}}
		}
	}
}

const card = "example.com/card"

// holding gives NUMA node 1 a device, which a pod holds; "" for none.
func holding(pod types.UID) func(*v1alpha1.NodeCPU) {
	return func(nc *v1alpha1.NodeCPU) {
		nc.Status.Format = v1alpha1.FormatVersion
		cards := v1alpha1.DeviceResource{Name: card, Groups: []v1alpha1.DeviceGroup{{NUMANodes: "1", Devices: 1, Healthy: 1}}}
		if pod != "" {
			cards.Held = []v1alpha1.HeldDevices{{Container: "compute", NUMANodes: "1", Devices: 1, PodUIDs: []types.UID{pod}}}
		}
		nc.Status.Devices = []v1alpha1.DeviceResource{cards}
		nc.Status.Conditions = append(nc.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionDevicesKnown, Status: metav1.ConditionTrue})
	}
}

// The steps lead, by the kubelet's rules, to the node as it was.
func TestOccupy(t *testing.T) {
	for _, test := range []struct{ shared, want string }{
		{"0-15", ""},
		{"0-2,4-10,12-15", "add held-1: compute 2\nadd held-2: compute 2\nadd held-3: compute 2\nremove held-1\nremove held-2\n"},
		{"0-2,4-15", "# held before: 3\n"},
	} {
		node := *nodeCPU(nil).Node
		node.Shared = cpuSet(test.shared)
		got := occupy(&node)
		if got != test.want {
			t.Errorf("shared %s:\n%swant\n%s", test.shared, got, test.want)
		}
		if strings.HasPrefix(got, "#") {
			continue
		}
		now, holds := node.Empty(), map[string]admission.Decision{}
		for line := range strings.Lines(got) {
			words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" :\n", r) })
			if words[0] == "remove" {
				now = now.Releasing(holds[words[1]].Grants, &admission.Held{})
				continue
			}
			filler := admission.Pod{Name: words[1], Guaranteed: true, Containers: []admission.Container{{Name: "compute", CPUs: 2}}}
			holds[words[1]] = admission.Admit(&now, &filler)
			now.Shared = holds[words[1]].Shared
		}
		if now.Shared != node.Shared {
			t.Errorf("the steps lead to shared pool %s, want %s", now.Shared, node.Shared)
		}
	}
}
