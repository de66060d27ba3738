// SPDX-License-Identifier: Apache-2.0

package memorymanager

import (
	"slices"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// State is the memory of a machine's NUMA nodes, machineState in memory_manager_state.
type State struct {
	// Types are the types of memory that every NUMA node has, sorted.
	Types []string
	// NUMANodes are all of Topology.NUMANodes(), in that order.
	NUMANodes []NUMANode
	// Torn is set where the amounts are not certain. Either the file was read between two writes of the kubelet, or blocks
	// have been given back in an order that nobody knows and that matters. The next report is certain again.
	Torn bool
}

// NUMANode is the memory of one NUMA node.
type NUMANode struct {
	// Assignments is the number of blocks that have been allocated here, numberOfAssignments in the file.
	Assignments int
	// Group are the NUMA nodes that share allocations with this one, itself included: cells in the file.
	Group topologymanager.Mask
	// Memory is by index in State.Types.
	Memory []Amount
}

// Amount is how much there is of a type of memory, in bytes.
type Amount struct {
	Total          uint64 // what the machine has
	SystemReserved uint64 // of it, what is kept for the system
	Allocatable    uint64 // the rest, for containers
	Reserved       uint64 // of that, what containers have
	Free           uint64 // of that, what no container has
}

// Quantity is an amount of a type of memory, in bytes.
type Quantity struct {
	Type  string
	Bytes uint64
}

// Block is memory of one type on a set of NUMA nodes.
type Block struct {
	NUMANodes topologymanager.Mask
	Quantity
}

// Held is a block that a container holds.
type Held struct {
	Container string
	// Init is set for an init container that is no sidecar. A report does not know it.
	Init bool
	Block
}

// Clone is a copy that shares nothing that changes.
func (s *State) Clone() State {
	var c State
	c.set(s)
	return c
}

// set makes s a copy of another state, in the memory that s has.
func (s *State) set(from *State) {
	s.Types = from.Types
	s.Torn = from.Torn
	for len(s.NUMANodes) < len(from.NUMANodes) {
		s.NUMANodes = append(s.NUMANodes, NUMANode{})
	}
	s.NUMANodes = s.NUMANodes[:len(from.NUMANodes)]
	for i := range from.NUMANodes {
		memory := append(s.NUMANodes[i].Memory[:0], from.NUMANodes[i].Memory...)
		s.NUMANodes[i] = from.NUMANodes[i]
		s.NUMANodes[i].Memory = memory
	}
}

// Empty is the state with nothing allocated.
func (s *State) Empty() State {
	empty := s.Clone()
	empty.Torn = false
	for i := range empty.NUMANodes {
		node := &empty.NUMANodes[i]
		node.Assignments = 0
		node.Group = 1 << i
		for k := range node.Memory {
			node.Memory[k].Reserved = 0
			node.Memory[k].Free = node.Memory[k].Allocatable
		}
	}
	return empty
}

// Equal reports whether both states say the same.
func (s *State) Equal(t *State) bool {
	if s == nil || t == nil {
		return s == t
	}
	return s.Torn == t.Torn && slices.Equal(s.Types, t.Types) && slices.EqualFunc(s.NUMANodes, t.NUMANodes, func(a, b NUMANode) bool {
		return a.Assignments == b.Assignments && a.Group == b.Group && slices.Equal(a.Memory, b.Memory)
	})
}

// all are the NUMA nodes.
func (s *State) all() topologymanager.Mask { return 1<<len(s.NUMANodes) - 1 }

// index is the place of a type in Types, or -1.
func (s *State) index(name string) int { return slices.Index(s.Types, name) }

// take takes a block: from the lowest NUMA node what it has, then from the next. reused is how much of it the pod holds
// already (updateMachineState).
func (s *State) take(b Block, reused uint64) {
	missing := b.Bytes - min(reused, b.Bytes)
	at := s.index(b.Type)
	for rest := b.NUMANodes; rest != 0; rest = rest.Rest() {
		node := &s.NUMANodes[rest.First()]
		node.Assignments++
		node.Group = b.NUMANodes
		amount := &node.Memory[at]
		taken := min(missing, amount.Free)
		amount.Free -= taken
		amount.Reserved += taken
		missing -= taken
	}
}

// Release gives blocks back, each from the lowest NUMA node up (releaseMemory). What one NUMA node gets back need not be
// what was taken from it. The kubelet gives the blocks of several containers back in any order. Where that matters, the
// state is torn afterwards.
func (s *State) Release(held []Held) {
	s.Torn = s.Torn || orderMatters(held)
	for i := range held {
		s.release(&held[i].Block)
	}
}

func (s *State) release(b *Block) {
	missing := b.Bytes
	at := s.index(b.Type)
	for rest := b.NUMANodes; rest != 0; rest = rest.Rest() {
		node := &s.NUMANodes[rest.First()]
		node.Assignments--
		if node.Assignments == 0 {
			node.Group = rest & -rest
		}
		amount := &node.Memory[at]
		released := min(missing, amount.Reserved)
		amount.Free += released
		amount.Reserved -= released
		missing -= released
	}
}

// orderMatters reports whether what each NUMA node gets back may depend on the order in which blocks are given back. It
// does not where blocks of a type are on the same NUMA nodes, or on others.
func orderMatters(held []Held) bool {
	for i := range held {
		a := &held[i]
		for k := range held[:i] {
			b := &held[k]
			if a.Type == b.Type && a.NUMANodes != b.NUMANodes && a.NUMANodes&b.NUMANodes != 0 &&
				a.Bytes > 0 && b.Bytes > 0 {
				return true
			}
		}
	}
	return false
}
