// SPDX-License-Identifier: Apache-2.0

// Package cputopology is the machine: which CPUs there are, and how they share cores, uncore caches, NUMA nodes and
// sockets.
//
// A Topology is immutable and has two text forms, one line each, that Parse reads back. A regular machine is written
// as its shape,
//
//	2 sockets x 1 numa x 16 cores x 2 threads
//
// (per socket, per NUMA node, per core), numbered as Linux numbers most servers: first one thread of every core, then
// the second threads. Any other machine is written core by core, with the cores of one cache together:
//
//	s0 n0 u0: 0,4 1,5; s0 n1 u1: 2,6 3,7
//
// The same text is used in tests, logs and bug reports.
//
// Ids are the kernel's, except that a core's id is its lowest CPU, and that only online CPUs exist, as in the kubelet
// (pkg/kubelet/cm/cpumanager/topology, v1.36.3).
package cputopology

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
)

// CPU says where one CPU is.
type CPU struct {
	ID, Core, UncoreCache, NUMANode, Socket int
}

// Core is a set of CPUs that are hardware threads of one another.
type Core struct {
	ID, UncoreCache, NUMANode, Socket int
	CPUs                              cpuset.Set
}

// NUMANode is one NUMA node. A NUMA node may have no CPUs.
type NUMANode struct {
	ID   int
	CPUs cpuset.Set
	// Size is the number of CPUs. New sets it.
	Size int
	// Distances are the kernel's, to the machine's NUMA nodes in the order of their ids. They are nil where unknown.
	Distances []int
}

// Unit is a socket or an uncore cache with its CPUs.
type Unit struct {
	ID   int
	CPUs cpuset.Set
	// Size is the number of CPUs.
	Size int
}

// Topology is an immutable description of a machine's CPUs. Callers must not change what its methods return. The zero
// Topology has no CPUs.
type Topology struct {
	cores       []Core
	threads     [][]int // the CPUs of each core
	numaNodes   []NUMANode
	sockets     []int
	uncore      []int
	socketUnits []Unit
	uncoreUnits []Unit
	cpus        cpuset.Set
	size        int
	words       int
	threadCount int
}

// New builds a Topology from cores in any order. It sets core ids to the lowest CPU. NUMA nodes that no core names, or
// whose distances are known, are given in numaNodes. The others are derived.
func New(cores []Core, numaNodes ...NUMANode) (*Topology, error) {
	t := &Topology{cores: make([]Core, 0, len(cores))}
	for _, core := range cores {
		if err := t.addCore(core); err != nil {
			return nil, err
		}
	}
	if len(t.cores) == 0 {
		return nil, errors.New("a machine needs at least one CPU")
	}
	slices.SortFunc(t.cores, func(a, b Core) int { return cmp.Compare(a.ID, b.ID) })
	for _, core := range t.cores {
		t.threads = append(t.threads, core.CPUs.List())
		t.sockets = insert(t.sockets, core.Socket)
		t.uncore = insert(t.uncore, core.UncoreCache)
	}
	t.socketUnits = units(t.sockets, t.cores, func(c *Core) int { return c.Socket })
	t.uncoreUnits = units(t.uncore, t.cores, func(c *Core) int { return c.UncoreCache })
	t.size = t.cpus.Len()
	t.words = len(t.cpus)
	for t.words > 1 && t.cpus[t.words-1] == 0 {
		t.words--
	}
	return t, t.addNUMANodes(numaNodes)
}

func (t *Topology) addCore(core Core) error {
	if core.CPUs.IsEmpty() {
		return fmt.Errorf("core %d has no CPU", core.ID)
	}
	both := t.cpus.Intersect(core.CPUs)
	if !both.IsEmpty() {
		return fmt.Errorf("CPU %s is in two cores", both)
	}
	if core.Socket < 0 || core.NUMANode < 0 || core.UncoreCache < 0 {
		return fmt.Errorf("core with CPUs %s has a negative socket, NUMA node or uncore cache", core.CPUs)
	}
	core.ID = core.CPUs.First()
	t.cores = append(t.cores, core)
	t.cpus = t.cpus.Union(core.CPUs)
	t.threadCount = max(t.threadCount, core.CPUs.Len())
	return nil
}

func (t *Topology) addNUMANodes(given []NUMANode) error {
	byID := map[int]*NUMANode{}
	for _, node := range given {
		if byID[node.ID] != nil || node.ID < 0 {
			return fmt.Errorf("NUMA node %d is negative or given twice", node.ID)
		}
		byID[node.ID] = &NUMANode{ID: node.ID, Distances: node.Distances}
	}
	for _, core := range t.cores {
		node := byID[core.NUMANode]
		if node == nil {
			node = &NUMANode{ID: core.NUMANode}
			byID[core.NUMANode] = node
		}
		node.CPUs = node.CPUs.Union(core.CPUs)
	}
	for _, node := range byID {
		n := len(node.Distances)
		if n != 0 && n != len(byID) {
			return fmt.Errorf("NUMA node %d has %d distances on a machine of %d NUMA nodes", node.ID, n, len(byID))
		}
		node.Size = node.CPUs.Len()
		t.numaNodes = append(t.numaNodes, *node)
	}
	slices.SortFunc(t.numaNodes, func(a, b NUMANode) int { return cmp.Compare(a.ID, b.ID) })
	return nil
}

// units gives each of the sorted ids the CPUs of its cores.
func units(ids []int, cores []Core, idOf func(*Core) int) []Unit {
	list := make([]Unit, len(ids))
	for i, id := range ids {
		list[i].ID = id
	}
	for c := range cores {
		i, _ := slices.BinarySearch(ids, idOf(&cores[c]))
		list[i].CPUs = list[i].CPUs.Union(cores[c].CPUs)
		list[i].Size += cores[c].CPUs.Len()
	}
	return list
}

func insert(ids []int, id int) []int {
	i, found := slices.BinarySearch(ids, id)
	if found {
		return ids
	}
	return slices.Insert(ids, i, id)
}

// CPUs are the machine's online CPUs.
func (t *Topology) CPUs() cpuset.Set { return t.cpus }

// Size is the number of online CPUs.
func (t *Topology) Size() int { return t.size }

// Words is how many words of a cpuset.Set can hold a CPU of the machine. A prediction looks only at those.
func (t *Topology) Words() int { return t.words }

// Cores are the machine's cores, by id.
func (t *Topology) Cores() []Core { return t.cores }

// WholeCores are the CPUs of those cores that are entirely in a set. It is for code that asks for many sets: it looks at single bits,
// which takes a tenth of the time that comparing sets takes.
func (t *Topology) WholeCores(of cpuset.Set) cpuset.Set {
	var whole cpuset.Set
	for _, core := range t.threads {
		all := true
		for _, id := range core {
			all = all && of.Has(id)
		}
		if !all {
			continue
		}
		for _, id := range core {
			whole.Add(id)
		}
	}
	return whole
}

// NUMANodes are the machine's NUMA nodes, by id, those without CPUs included.
func (t *Topology) NUMANodes() []NUMANode { return t.numaNodes }

// Sockets are the ids of the sockets with a CPU, ascending.
func (t *Topology) Sockets() []int { return t.sockets }

// UncoreCaches are the ids of the uncore caches, ascending.
func (t *Topology) UncoreCaches() []int { return t.uncore }

// SocketUnits are the same sockets with their CPUs, in the same order.
func (t *Topology) SocketUnits() []Unit { return t.socketUnits }

// UncoreUnits are the same uncore caches with their CPUs, in the same order.
func (t *Topology) UncoreUnits() []Unit { return t.uncoreUnits }

// ThreadsPerCore is the largest number of CPUs in a core.
func (t *Topology) ThreadsPerCore() int { return t.threadCount }

// CPU says where a CPU is. ok is false for one that the machine does not have online.
func (t *Topology) CPU(id int) (cpu CPU, ok bool) {
	core, ok := t.CoreOf(id)
	return CPU{ID: id, Core: core.ID, UncoreCache: core.UncoreCache, NUMANode: core.NUMANode, Socket: core.Socket}, ok
}

// CoreOf is the core that a CPU belongs to. ok is false for one that the machine does not have online.
func (t *Topology) CoreOf(id int) (core Core, ok bool) {
	for i := range t.cores {
		if t.cores[i].CPUs.Has(id) {
			return t.cores[i], true
		}
	}
	return Core{}, false
}

// Equal reports whether both describe the same machine.
func (t *Topology) Equal(u *Topology) bool {
	return slices.Equal(t.cores, u.cores) &&
		slices.EqualFunc(t.numaNodes, u.numaNodes, func(a, b NUMANode) bool {
			return a.ID == b.ID && a.CPUs == b.CPUs && slices.Equal(a.Distances, b.Distances)
		})
}
