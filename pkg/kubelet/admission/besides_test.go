// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

const gib = 1 << 30

// besidesNode is a machine of two NUMA nodes with memory in GiB free of 16 each, and devices free of 4 each.
func besidesNode(t *testing.T, policy, scope string, memory [2]uint64, devices [2]int) *Node {
	n := newNode(t, twoNUMANodes, "", policy, scope, "0")
	n.MemoryManager = memorymanager.PolicyStatic
	n.Memory = &memorymanager.State{Types: []string{"memory"}}
	n.Devices = &devicemanager.State{Resources: []devicemanager.Resource{
		{Name: "devices.kubevirt.io/kvm", Groups: []devicemanager.Group{{Devices: 1000, Healthy: 1000, Free: 1000}}},
		{Name: "example.com/nic", Groups: []devicemanager.Group{{NUMANodes: 1, Devices: 4, Healthy: 4, Free: devices[0]}, {NUMANodes: 2, Devices: 4, Healthy: 4, Free: devices[1]}}},
	}}
	for i, free := range memory {
		node := memorymanager.NUMANode{Group: 1 << i, Memory: []memorymanager.Amount{{Total: 16 * gib, Allocatable: 16 * gib, Free: free * gib, Reserved: (16 - free) * gib}}}
		if free < 16 {
			node.Assignments = 1
		}
		n.Memory.NUMANodes = append(n.Memory.NUMANodes, node)
	}
	return n
}

// besidesPod asks for CPUs, GiB and devices in its only container.
func besidesPod(name string, cpus int, memory uint64, devices int) *Pod {
	p := podAsking(name, cpus)
	p.Containers[0].Memory = []memorymanager.Quantity{{Type: "memory", Bytes: memory * gib}}
	p.Containers[0].Devices = []devicemanager.Request{{Resource: "bridge.network.kubevirt.io/br1", Count: 1}, {Resource: "devices.kubevirt.io/kvm", Count: 1}}
	if devices > 0 {
		p.Containers[0].Devices = append(p.Containers[0].Devices, devicemanager.Request{Resource: "example.com/nic", Count: devices})
	}
	return p
}

func TestAdmitBesides(t *testing.T) {
	for _, tc := range []struct {
		what    string
		policy  string
		memory  [2]uint64
		devices [2]int
		pod     *Pod
		want    string // verdict and reason, or the NUMA nodes of CPUs, memory and devices
	}{
		{"all on the lower NUMA node", topologymanager.PolicySingleNUMANode, [2]uint64{16, 16}, [2]int{4, 4}, besidesPod("p", 4, 4, 1), "cpus 1 memory 1 devices 1"},
		{"where the devices are", topologymanager.PolicySingleNUMANode, [2]uint64{16, 16}, [2]int{0, 4}, besidesPod("p", 4, 4, 1), "cpus 2 memory 2 devices 2"},
		{"where the memory is", topologymanager.PolicySingleNUMANode, [2]uint64{2, 16}, [2]int{4, 4}, besidesPod("p", 4, 4, 1), "cpus 2 memory 2 devices 2"},
		{"memory here, devices there", topologymanager.PolicySingleNUMANode, [2]uint64{2, 16}, [2]int{4, 0}, besidesPod("p", 4, 4, 1), "refused TopologyAffinityError"},
		{"the same, restricted", topologymanager.PolicyRestricted, [2]uint64{2, 16}, [2]int{4, 0}, besidesPod("p", 4, 4, 1), "refused TopologyAffinityError"},
		// An empty map of hints is no empty list: the topology manager admits, and the memory manager refuses.
		{"no memory anywhere", topologymanager.PolicySingleNUMANode, [2]uint64{2, 2}, [2]int{4, 4}, besidesPod("p", 4, 4, 1), "refused UnexpectedAdmissionError"},
		{"no device anywhere", topologymanager.PolicySingleNUMANode, [2]uint64{16, 16}, [2]int{1, 1}, besidesPod("p", 4, 4, 3), "refused TopologyAffinityError"},
		{"no device anywhere, none", topologymanager.PolicyNone, [2]uint64{16, 16}, [2]int{1, 1}, besidesPod("p", 4, 4, 3), "refused UnexpectedAdmissionError"},
	} {
		n := besidesNode(t, tc.policy, topologymanager.ScopeContainer, tc.memory, tc.devices)
		if why := n.Inexact(*tc.pod); why != "" {
			t.Errorf("%s: not exact: %s", tc.what, why)
		}
		d := Admit(n, tc.pod)
		if got := whereOf(n, &d); got != tc.want {
			t.Errorf("%s: %s, want %s (%s)", tc.what, got, tc.want, d)
		}
	}
}

func whereOf(n *Node, d *Decision) string {
	if d.Verdict != Admitted {
		return d.Verdict.String() + " " + d.Reason
	}
	text := "cpus"
	for i, node := range n.Topology.NUMANodes() {
		if d.Granted().Overlaps(node.CPUs) {
			text += []string{" 1", " 2"}[i]
		}
	}
	for _, h := range d.Held.Memory {
		text += " memory " + []string{"none", "1", "2", "1 2"}[h.NUMANodes]
	}
	for _, h := range d.Held.Devices {
		if h.NUMANodes != 0 {
			text += " devices " + []string{"none", "1", "2", "1 2"}[h.NUMANodes]
		}
	}
	return text
}

// A pod that asks for devices only is in flight for one that does, and not for one that asks for CPUs only.
func TestAdmitAfterBesides(t *testing.T) {
	burstable := func(devices int) *Pod {
		p := besidesPod("burstable", 0, 0, devices)
		p.Guaranteed = false
		p.Containers[0].Memory = nil
		return p
	}
	many := []*Pod{burstable(1), burstable(1), burstable(1), burstable(1)}
	for _, tc := range []struct {
		what     string
		policy   string
		inFlight []*Pod
		pod      *Pod
		want     string
	}{
		{"the last device is on its way to another", topologymanager.PolicySingleNUMANode, []*Pod{burstable(2)}, besidesPod("p", 2, 1, 1), "wait"},
		{"there is one for both", topologymanager.PolicySingleNUMANode, []*Pod{burstable(1)}, besidesPod("p", 2, 1, 1), "admitted"},
		{"pods with devices do not count for one without", topologymanager.PolicySingleNUMANode, many, besidesPod("p", 2, 1, 0), "admitted"},
		{"but for one with", topologymanager.PolicySingleNUMANode, many, besidesPod("p", 2, 1, 1), "wait"},
		{"every Guaranteed pod takes memory", topologymanager.PolicySingleNUMANode, []*Pod{besidesPod("shared", 0, 14, 0)}, besidesPod("p", 2, 14, 0), "admitted"},
		{"and the last", topologymanager.PolicySingleNUMANode, []*Pod{besidesPod("a", 0, 14, 0), besidesPod("b", 0, 14, 0)}, besidesPod("p", 2, 14, 0), "wait"},
	} {
		n := besidesNode(t, tc.policy, topologymanager.ScopeContainer, [2]uint64{16, 16}, [2]int{2, 0})
		d := AdmitAfter(n, tc.inFlight, tc.pod)
		if d.Verdict.String() != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, d, tc.want)
		}
	}
}

// One pod in flight decides where another one goes, and that one takes what the new pod needs. The first has nothing that the
// new pod asks for.
func TestAdmitAfterOneAfterAnother(t *testing.T) {
	n := besidesNode(t, topologymanager.PolicySingleNUMANode, topologymanager.ScopeContainer, [2]uint64{16, 16}, [2]int{0, 0})
	one := func(mask topologymanager.Mask) devicemanager.Group {
		return devicemanager.Group{NUMANodes: mask, Devices: 1, Healthy: 1, Free: 1}
	}
	n.Devices.Resources = []devicemanager.Resource{
		{Name: "example.com/a", Groups: []devicemanager.Group{one(1), one(2)}},
		{Name: "example.com/b", Groups: []devicemanager.Group{one(1), one(2)}},
		{Name: "example.com/c", Groups: []devicemanager.Group{one(2)}},
	}
	asking := func(name string, resources ...string) *Pod {
		p := &Pod{Name: name, Containers: []Container{{Name: "c"}}}
		for _, resource := range resources {
			p.Containers[0].Devices = append(p.Containers[0].Devices, devicemanager.Request{Resource: "example.com/" + resource, Count: 1})
		}
		return p
	}
	p := asking("p", "a", "c")
	both := asking("both", "a", "b")
	d := AdmitAfter(n, []*Pod{both}, p)
	if d.Verdict != Admitted {
		t.Errorf("with one pod in flight: %s", d)
	}
	d = AdmitAfter(n, []*Pod{both, asking("first", "b")}, p)
	if d.Verdict != Wait {
		t.Errorf("with one more, which may send the other to NUMA node 1: %s, want wait", d)
	}
}

// Which of two NUMA nodes a device comes from is up to the kubelet. The next pod that asks for one waits for the report.
func TestOnlyTheKubeletKnows(t *testing.T) {
	n := besidesNode(t, topologymanager.PolicyNone, topologymanager.ScopeContainer, [2]uint64{16, 16}, [2]int{4, 4})
	_, after := n.Admitting(besidesPod("first", 2, 1, 1))
	after.TopologyManager.Policy = topologymanager.PolicyRestricted
	d := AdmitAfter(&after, nil, besidesPod("next", 2, 1, 1))
	if d.Verdict != Wait || !strings.Contains(d.Message, "example.com/nic") {
		t.Errorf("with a device: %s", d)
	}
	if d = AdmitAfter(&after, nil, besidesPod("next", 2, 1, 0)); d.Verdict != Admitted {
		t.Errorf("without a device: %s", d)
	}
	twice := besidesPod("twice", 2, 1, 1)
	twice.Containers = append(twice.Containers, twice.Containers[0])
	twice.Containers[0].Devices[2].Count = 2
	n.TopologyManager.Policy = topologymanager.PolicyBestEffort
	n.Memory.NUMANodes[0].Memory[0].Free = 0
	if d = Admit(n, twice); d.Verdict == Wait {
		t.Errorf("a pod's own decision waits for nothing: %s", d)
	}
}

// While an init container's memory may be given back at any moment, both are tried.
func TestEnding(t *testing.T) {
	n := besidesNode(t, topologymanager.PolicySingleNUMANode, topologymanager.ScopeContainer, [2]uint64{16, 2}, [2]int{4, 4})
	starting := besidesPod("starting", 2, 1, 0)
	starting.Containers = append([]Container{{Name: "prepare", Kind: Init, Memory: []memorymanager.Quantity{{Type: "memory", Bytes: 10 * gib}}}}, starting.Containers...)
	d, after := n.Admitting(starting)
	ending := EndingOf(starting, d.Held.Memory)
	if len(ending) != 1 || ending[0].Bytes != 9*gib {
		t.Fatalf("ending: %+v of %+v", ending, d.Held.Memory)
	}
	after.Ending = [][]memorymanager.Held{ending}
	for memory, want := range map[uint64]string{4: "admitted", 12: "wait", 17: "refused"} {
		if d := AdmitAfter(&after, nil, besidesPod("next", 2, memory, 0)); d.Verdict.String() != want {
			t.Errorf("%d GiB beside it: %s, want %s", memory, d, want)
		}
		if d := AdmitAfter(n, []*Pod{starting}, besidesPod("next", 2, memory, 0)); d.Verdict.String() != want {
			t.Errorf("%d GiB with it in flight: %s, want %s", memory, d, want)
		}
	}
}

func TestTornMemory(t *testing.T) {
	n := besidesNode(t, topologymanager.PolicySingleNUMANode, topologymanager.ScopeContainer, [2]uint64{16, 16}, [2]int{4, 4})
	n.Memory.Torn = true
	if d := AdmitAfter(n, nil, besidesPod("p", 2, 1, 0)); d.Verdict != Wait {
		t.Errorf("%s, want wait", d)
	}
	burstable := besidesPod("p", 0, 1, 1)
	burstable.Guaranteed = false
	if d := AdmitAfter(n, nil, burstable); d.Verdict != Admitted {
		t.Errorf("a pod without memory of its own: %s", d)
	}
}

// On many NUMA nodes the kubelet's product of hints does not come to an end.
func TestEndlessHints(t *testing.T) {
	n := newNode(t, "2 sockets x 4 numa x 4 cores x 2 threads", "", topologymanager.PolicyRestricted, topologymanager.ScopeContainer, "0")
	n.MemoryManager = memorymanager.PolicyStatic
	n.Memory = &memorymanager.State{Types: []string{"hugepages-1Gi", "hugepages-2Mi", "memory"}}
	p := podAsking("vm", 2)
	for i := range n.Topology.NUMANodes() {
		n.Memory.NUMANodes = append(n.Memory.NUMANodes, memorymanager.NUMANode{Group: 1 << i, Memory: make([]memorymanager.Amount, 3)})
	}
	for _, name := range n.Memory.Types {
		if why := n.Inexact(*p); why != "" {
			t.Errorf("%d types of memory: %s", len(p.Containers[0].Memory), why)
		}
		p.Containers[0].Memory = append(p.Containers[0].Memory, memorymanager.Quantity{Type: name, Bytes: 1})
	}
	for scope, want := range map[string]string{topologymanager.ScopeContainer: "for a", topologymanager.ScopePod: "for pod as a whole"} {
		n.TopologyManager.Scope = scope
		if why := n.Inexact(*p); !strings.HasSuffix(why, want) {
			t.Errorf("three types and CPUs, scope %s: %q", scope, why)
		}
	}
	n.TopologyManager.Policy = topologymanager.PolicySingleNUMANode
	if why := n.Inexact(*p); why != "" {
		t.Errorf("single-numa-node: %s", why)
	}
}
