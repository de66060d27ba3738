// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// heldMemory are the blocks that pods hold, by pod.
type heldMemory map[types.UID][]memorymanager.Held

// decodeMemory reads the memory manager's state. It is nil where the policy is not Static, or where it is not known.
func decodeMemory(s *v1alpha1.NodeCPUStatus, topology *cputopology.Topology) (*memorymanager.State, heldMemory, error) {
	m := &s.MemoryManager
	if m.Policy != memorymanager.PolicyStatic || len(m.NUMANodes) == 0 || len(topology.NUMANodes()) > maskBits {
		return nil, nil, nil
	}
	nodes := newNUMANodes(topology)
	state, err := memoryState(m, topology, nodes)
	if err != nil {
		return nil, nil, fmt.Errorf("memoryManager.numaNodes: %w", err)
	}
	held := heldMemory{}
	assignments := make([]int, len(state.NUMANodes))
	for i := range m.Granted {
		pod := &m.Granted[i]
		_, twice := held[pod.PodUID]
		if twice || pod.PodUID == "" {
			return nil, nil, fmt.Errorf("memoryManager.granted: pod UID %.40q is empty or is listed twice", pod.PodUID)
		}
		blocks, err := heldByPod(pod, state, nodes)
		if err != nil {
			return nil, nil, fmt.Errorf("memoryManager.granted to pod %.40q: %w", pod.PodUID, err)
		}
		if len(blocks) > 0 {
			held[pod.PodUID] = blocks
		}
		for k := range blocks {
			for rest := blocks[k].NUMANodes; rest != 0; rest = rest.Rest() {
				assignments[rest.First()]++
			}
		}
	}
	for i := range assignments {
		state.Torn = state.Torn || assignments[i] != state.NUMANodes[i].Assignments
	}
	if !memoryKnown(s) {
		return nil, held, nil
	}
	return state, held, nil
}

// memoryKnown reports whether the memory manager's state in the report is the latest. Agents that know only format 1 say so in
// the words of a condition alone.
func memoryKnown(s *v1alpha1.NodeCPUStatus) bool {
	if s.MemoryManager.Unknown != "" || pruned(s) {
		return false
	}
	complete := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSourcesComplete)
	return complete == nil || !strings.Contains(complete.Message, "memory_manager_state")
}

func memoryState(m *v1alpha1.MemoryManager, topology *cputopology.Topology, nodes *numaNodes) (*memorymanager.State, error) {
	if len(m.NUMANodes) != len(topology.NUMANodes()) {
		return nil, fmt.Errorf("there are %d, and the machine has %d", len(m.NUMANodes), len(topology.NUMANodes()))
	}
	state := &memorymanager.State{NUMANodes: make([]memorymanager.NUMANode, len(m.NUMANodes))}
	for _, r := range m.NUMANodes[0].Resources {
		state.Types = append(state.Types, r.Type)
	}
	slices.Sort(state.Types)
	if len(slices.Compact(slices.Clone(state.Types))) != len(state.Types) {
		return nil, errors.New("a type of memory is listed twice")
	}
	var seen topologymanager.Mask
	for i := range m.NUMANodes {
		reported := &m.NUMANodes[i]
		own, err := nodes.maskOf([]int32{reported.ID})
		if err != nil {
			return nil, err
		}
		node := &state.NUMANodes[own.First()]
		node.Assignments = int(reported.Assignments)
		if node.Group, err = nodes.maskOf(reported.Group); err != nil {
			return nil, fmt.Errorf("group of NUMA node %d: %w", reported.ID, err)
		}
		if node.Group&own == 0 || reported.Assignments < 0 || seen&own != 0 {
			return nil, fmt.Errorf("NUMA node %d is listed twice, or is not in its own group, or has %d assignments", reported.ID, reported.Assignments)
		}
		seen |= own
		if node.Memory, err = amountsOf(reported, state.Types); err != nil {
			return nil, fmt.Errorf("NUMA node %d: %w", reported.ID, err)
		}
	}
	return state, nil
}

// amountsOf are the amounts of a NUMA node in the order of types.
func amountsOf(node *v1alpha1.NUMAMemory, types []string) ([]memorymanager.Amount, error) {
	if len(node.Resources) != len(types) {
		return nil, fmt.Errorf("it has %d types of memory, and another NUMA node has %d", len(node.Resources), len(types))
	}
	amounts := make([]memorymanager.Amount, len(types))
	seen := make([]bool, len(types))
	for _, r := range node.Resources {
		at, known := slices.BinarySearch(types, r.Type)
		if !known || seen[at] {
			return nil, fmt.Errorf("%.80q is listed twice, or another NUMA node has none", r.Type)
		}
		if min(r.Total, r.SystemReserved, r.Allocatable, r.Reserved, r.Free) < 0 {
			return nil, fmt.Errorf("an amount of %s is negative", r.Type)
		}
		seen[at] = true
		amounts[at] = memorymanager.Amount{
			Total: uint64(r.Total), SystemReserved: uint64(r.SystemReserved), Allocatable: uint64(r.Allocatable),
			Reserved: uint64(r.Reserved), Free: uint64(r.Free),
		}
	}
	return amounts, nil
}

// heldByPod are the blocks of a pod's containers, sorted by container and type.
func heldByPod(pod *v1alpha1.PodMemory, state *memorymanager.State, nodes *numaNodes) ([]memorymanager.Held, error) {
	var held []memorymanager.Held
	for i := range pod.Containers {
		container := &pod.Containers[i]
		for _, block := range container.Blocks {
			mask, err := nodes.maskOf(block.NUMANodes)
			if err != nil {
				return nil, fmt.Errorf("container %.80q: %w", container.Name, err)
			}
			_, known := slices.BinarySearch(state.Types, block.Type)
			if !known || block.Size < 0 || container.Name == "" {
				return nil, fmt.Errorf("container %.80q: a block of %d bytes of %.80q", container.Name, block.Size, block.Type)
			}
			held = append(held, memorymanager.Held{Container: container.Name, Block: memorymanager.Block{
				NUMANodes: mask, Quantity: memorymanager.Quantity{Type: block.Type, Bytes: uint64(block.Size)},
			}})
		}
	}
	slices.SortFunc(held, func(a, b memorymanager.Held) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Type, b.Type))
	})
	return held, nil
}
