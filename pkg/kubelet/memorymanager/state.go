package memorymanager

import (
	"slices"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// State is the memory of a machine's NUMA nodes, machineState in memory_manager_state.
type State struct {
	// Types are the types of memory that every NUMA node has.
	Types []string
	// NUMANodes are in the order of Topology.NUMANodes().
	NUMANodes []NUMANode
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
type Amount struct{ Allocatable, Reserved, Free uint64 }

// Quantity is an amount of a type of memory, in bytes.
type Quantity struct {
	Type  string
	Bytes uint64
}

// Block is memory of one type that a container holds on a set of NUMA nodes.
type Block struct {
	NUMANodes topologymanager.Mask
	Quantity
}

// Clone is a copy that shares nothing that changes.
func (s *State) Clone() State {
	c := State{Types: s.Types, NUMANodes: slices.Clone(s.NUMANodes)}
	for i := range c.NUMANodes {
		c.NUMANodes[i].Memory = slices.Clone(c.NUMANodes[i].Memory)
	}
	return c
}

// all are the NUMA nodes.
func (s *State) all() topologymanager.Mask { return 1<<len(s.NUMANodes) - 1 }

// take takes a block: from the lowest NUMA node what it has, then from the next. reused is how much of it the pod holds
// already (updateMachineState).
func (s *State) take(b Block, reused uint64) {
	missing := b.Bytes - min(reused, b.Bytes)
	at := slices.Index(s.Types, b.Type)
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

// Release gives blocks back, from the lowest NUMA node up (releaseMemory). What one NUMA node gets back need not be
// what was taken from it.
func (s *State) Release(blocks []Block) {
	for _, b := range blocks {
		missing := b.Bytes
		at := slices.Index(s.Types, b.Type)
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
}
