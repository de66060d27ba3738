// SPDX-License-Identifier: Apache-2.0

package scoring

import (
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// host has NUMA nodes 0-3,8-11 and 4-7,12-15. Each has VFs, and as many GiB of free memory.
func host(vfs, gibibytes [2]int) *admission.Node {
	const gib = 1 << 30
	n := &admission.Node{
		Topology: cputopology.MustParse("2 sockets x 1 numa x 4 cores x 2 threads"), Minor: 36, MemoryManager: memorymanager.PolicyStatic,
		CPUManager:      cpumanager.Config{Policy: "static"},
		TopologyManager: topologymanager.Config{Policy: topologymanager.PolicySingleNUMANode, Scope: topologymanager.ScopeContainer},
		Memory:          &memorymanager.State{Types: []string{"memory"}},
		Devices:         &devicemanager.State{},
	}
	n.Shared = n.Topology.CPUs()
	r := devicemanager.Resource{Name: "intel.com/vf"}
	for i := range 2 {
		free := uint64(gibibytes[i]) * gib
		n.Memory.NUMANodes = append(n.Memory.NUMANodes, memorymanager.NUMANode{
			Group: 1 << i, Memory: []memorymanager.Amount{{Total: free, Allocatable: free, Free: free}},
		})
		if vfs[i] > 0 {
			r.Groups = append(r.Groups, devicemanager.Group{NUMANodes: 1 << i, Devices: vfs[i], Healthy: vfs[i], Free: vfs[i]})
		}
	}
	if len(r.Groups) > 0 {
		n.Devices.Resources = append(n.Devices.Resources, r)
	}
	return n
}

// ratingOf is the rating of a VM on a host with some CPUs taken.
func ratingOf(t *testing.T, n *admission.Node, taken string, cpus int, memory uint64, vfs int) int64 {
	t.Helper()
	held, err := cpuset.Parse(taken)
	if err != nil {
		t.Fatal(err)
	}
	node := *n
	node.Shared = node.Shared.Minus(held)
	compute := admission.Container{Name: "compute", CPUs: cpus, Memory: []memorymanager.Quantity{{Type: "memory", Bytes: memory << 30}}}
	if vfs > 0 {
		compute.Devices = []devicemanager.Request{{Resource: "intel.com/vf", Count: vfs}}
	}
	pod := admission.Pod{Guaranteed: true, Containers: []admission.Container{compute}}
	d, after := node.Admitting(&pod)
	if d.Verdict != admission.Admitted {
		t.Fatalf("%d CPUs, %d GiB, %d VFs: %s", cpus, memory, vfs, d)
	}
	return Rate(LeastFragmentation, &Placement{
		Node: &node, After: &after, FreeAfter: d.Shared, MemoryPerCPU: map[string]uint64{"memory": memory << 30 / uint64(cpus)},
		UnrequestedMilliCPU: int64(node.Free().Len()) * 1000, ExclusiveCPUs: cpus,
	})
}

func TestDevicesAndMemoryAreRoom(t *testing.T) {
	much := [2]int{64, 64}
	for name, test := range map[string]struct {
		better, worse *admission.Node
		taken         [2]string // CPUs of each host that are taken
		cpus          int
		memory        uint64
		vfs           int
	}{
		"a VM without a VF leaves the CPUs beside VFs alone": {
			better: host([2]int{}, much), worse: host([2]int{2, 2}, much), cpus: 4, memory: 4,
		},
		"and so it does beside the last VF": {
			better: host([2]int{0, 1}, much), worse: host([2]int{1, 0}, much), taken: [2]string{"4-7,12-15", "4-7,12-15"}, cpus: 4, memory: 4,
		},
		"where no VF is left beside the CPUs, none is lost": {
			better: host([2]int{0, 4}, much), worse: host([2]int{4, 4}, much), taken: [2]string{"", ""}, cpus: 4, memory: 4,
		},
		"a VM takes CPUs whose memory is nearly gone": {
			better: host([2]int{}, [2]int{4, 64}), worse: host([2]int{}, much), taken: [2]string{"", ""}, cpus: 4, memory: 4,
		},
	} {
		better := ratingOf(t, test.better, test.taken[0], test.cpus, test.memory, test.vfs)
		worse := ratingOf(t, test.worse, test.taken[1], test.cpus, test.memory, test.vfs)
		if better <= worse {
			t.Errorf("%s: ratings %d and %d", name, better, worse)
		}
	}
}
