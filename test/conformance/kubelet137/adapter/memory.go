// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	cadvisor "github.com/google/cadvisor/lib/model"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager/bitmask"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"

	ours "corepin.dev/corepin/pkg/kubelet/memorymanager"
	tm "corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/test/conformance/kubelet136/difftest"
)

// memory is a difftest.MemoryOracle. It is the topology manager's store, too.
type memory struct {
	memorymanager.Policy
	topologymanager.Store
	state  state.State
	chosen topologymanager.TopologyHint
}

func startMemory(machine []difftest.MemoryNode) (difftest.MemoryOracle, error) {
	info := &cadvisor.MachineInfo{}
	reserved := map[int]map[corev1.ResourceName]uint64{}
	for id, node := range machine {
		n := cadvisor.Node{Id: id}
		setMemory(&n, node)
		info.Topology = append(info.Topology, n)
		reserved[id] = reservedOf(node)
	}
	m := &memory{state: state.NewMemoryState(logr.Discard())}
	policy, err := memorymanager.NewPolicyStatic(logr.Discard(), info, reserved, m)
	if err != nil {
		return nil, err
	}
	m.Policy = policy
	return m, policy.Start(logr.Discard(), m.state)
}

// setMemory sets the memory of a NUMA node as cadvisor has it.
func setMemory(n *cadvisor.Node, node difftest.MemoryNode) {
	n.Memory = node.Total["memory"]
	for _, page := range []struct {
		name string
		kib  uint64
	}{{"hugepages-1Gi", 1 << 20}, {"hugepages-2Mi", 1 << 11}} {
		n.HugePages = append(n.HugePages, cadvisor.HugePagesInfo{PageSize: page.kib, NumPages: node.Total[page.name] / page.kib / 1024})
	}
}

// reservedOf is the memory of a NUMA node that is kept for the system.
func reservedOf(node difftest.MemoryNode) map[corev1.ResourceName]uint64 {
	reserved := map[corev1.ResourceName]uint64{}
	for name, bytes := range node.Reserved {
		reserved[corev1.ResourceName(name)] = bytes
	}
	return reserved
}

// GetAffinity makes it a topologymanager.Store.
func (m *memory) GetAffinity(logr.Logger, string, string) topologymanager.TopologyHint {
	return m.chosen
}

// Name is that of the policy; the store has one, too.
func (m *memory) Name() string { return m.Policy.Name() }

func (m *memory) State() ours.State {
	machine := m.state.GetMachineState()
	s := ours.State{Types: []string{"hugepages-1Gi", "hugepages-2Mi", "memory"}}
	for _, id := range slices.Sorted(maps.Keys(machine)) {
		node := ours.NUMANode{Assignments: machine[id].NumberOfAssignments, Group: maskOf(machine[id].Cells)}
		for _, name := range s.Types {
			table := machine[id].MemoryMap[corev1.ResourceName(name)]
			node.Memory = append(node.Memory, ours.Amount{Total: table.TotalMemSize, SystemReserved: table.SystemReserved, Allocatable: table.Allocatable, Reserved: table.Reserved, Free: table.Free})
		}
		s.NUMANodes = append(s.NUMANodes, node)
	}
	return s
}

func maskOf(ids []int) tm.Mask {
	var mask tm.Mask
	for _, id := range ids {
		mask |= 1 << id
	}
	return mask
}

func (m *memory) Hints(pod *corev1.Pod, container *corev1.Container) map[string][]difftest.Hint {
	var theirs map[string][]topologymanager.TopologyHint
	if container == nil {
		theirs = m.GetPodTopologyHints(logr.Discard(), m.state, pod, lifecycle.AddOperation)
	} else {
		theirs = m.GetTopologyHints(logr.Discard(), m.state, pod, container, lifecycle.AddOperation)
	}
	all := map[string][]difftest.Hint{}
	for name, hints := range theirs {
		for _, hint := range hints {
			all[name] = append(all[name], difftest.Hint{NUMANodes: hint.NUMANodeAffinity.GetBits(), Preferred: hint.Preferred})
		}
		difftest.SortHints(all[name])
	}
	return all
}

func (m *memory) Allocate(pod *corev1.Pod, container *corev1.Container, affinity difftest.Hint) error {
	m.chosen = topologymanager.TopologyHint{Preferred: affinity.Preferred}
	if len(affinity.NUMANodes) > 0 {
		mask, err := bitmask.NewBitMask(affinity.NUMANodes...)
		if err != nil {
			return err
		}
		m.chosen.NUMANodeAffinity = mask
	}
	return m.Policy.Allocate(context.Background(), m.state, pod, container, lifecycle.AddOperation)
}

func (m *memory) Blocks(pod *corev1.Pod, container string) []ours.Block {
	var blocks []ours.Block
	for _, b := range m.state.GetMemoryBlocks(string(pod.UID), container) {
		blocks = append(blocks, ours.Block{NUMANodes: maskOf(b.NUMAAffinity), Quantity: ours.Quantity{Type: string(b.Type), Bytes: b.Size}})
	}
	slices.SortFunc(blocks, func(a, b ours.Block) int { return strings.Compare(a.Type, b.Type) })
	return blocks
}

func (m *memory) Remove(pod *corev1.Pod, container string) {
	m.RemoveContainer(logr.Discard(), m.state, string(pod.UID), container)
}
