// SPDX-License-Identifier: Apache-2.0

package cpumanager

import (
	"cmp"
	"math/bits"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// machine is a topology with the numbers that the kubelet derives from it. Three of them are means, rounded down
// (topology/topology.go, v1.36.3). They are right for a machine whose cores, sockets and caches have one size, and
// the source of surprises on any other.
type machine struct {
	topology *cputopology.Topology
	minor    minor // of its kubelet
	cores    []cputopology.Core
	// words is how many words of a cpuset.Set can hold a CPU of this machine. Looking only at those makes most of
	// the speed.
	words int

	cpus      int // CPUs of the machine
	numaNodes int // NUMA nodes with a CPU

	cpusPerCore, cpusPerSocket, cpusPerUncore int
}

func newMachine(t *cputopology.Topology, minor minor) machine {
	m := machine{topology: t, minor: minor, cores: t.Cores(), words: t.Words(), cpus: t.Size()}
	for i := range t.NUMANodes() {
		if t.NUMANodes()[i].Size > 0 {
			m.numaNodes++
		}
	}
	m.cpusPerCore = m.cpus / len(m.cores)
	m.cpusPerSocket = m.cpus / len(t.Sockets())
	m.cpusPerUncore = m.cpus / len(t.UncoreCaches())
	return m
}

// count is the number of CPUs in s.
func (m *machine) count(s *cpuset.Set) int {
	n := 0
	for w := range m.words {
		n += bits.OnesCount64(s[w])
	}
	return n
}

// common is the number of CPUs in both a and b.
func (m *machine) common(a, b *cpuset.Set) int {
	n := 0
	for w := range m.words {
		n += bits.OnesCount64(a[w] & b[w])
	}
	return n
}

// meet reports whether a and b have a CPU in common.
func (m *machine) meet(a, b *cpuset.Set) bool {
	for w := range m.words {
		if a[w]&b[w] != 0 {
			return true
		}
	}
	return false
}

// add adds the CPUs of b to a.
func (m *machine) add(a, b *cpuset.Set) {
	for w := range m.words {
		a[w] |= b[w]
	}
}

// remove takes the CPUs of b out of a.
func (m *machine) remove(a, b *cpuset.Set) {
	for w := range m.words {
		a[w] &^= b[w]
	}
}

// unit is a NUMA node, a socket or an uncore cache.
type unit struct {
	id   int
	cpus *cpuset.Set
	size int // CPUs it has
	// whole is how many free CPUs make the kubelet believe that all of the unit is free. For a socket up to 1.37 that is
	// the mean size of the machine's sockets, not its own.
	whole int
	free  int // CPUs of it that are free, as of the last taking.count
}

// sockets appends the machine's sockets to into.
func (m *machine) sockets(into []unit) []unit {
	list := m.topology.SocketUnits()
	for i := range list {
		whole := m.cpusPerSocket
		if m.minor.countsOwnCPUs() {
			whole = list[i].Size
		}
		into = append(into, unit{id: list[i].ID, cpus: &list[i].CPUs, size: list[i].Size, whole: whole})
	}
	return into
}

// uncoreCaches appends the machine's uncore caches to into.
func (m *machine) uncoreCaches(into []unit) []unit {
	list := m.topology.UncoreUnits()
	for i := range list {
		into = append(into, unit{id: list[i].ID, cpus: &list[i].CPUs, size: list[i].Size, whole: list[i].Size})
	}
	return into
}

// numa appends the machine's NUMA nodes with CPUs to into.
func (m *machine) numa(into []unit) []unit {
	list := m.topology.NUMANodes()
	for i := range list {
		if list[i].Size > 0 {
			into = append(into, unit{id: list[i].ID, cpus: &list[i].CPUs, size: list[i].Size, whole: list[i].Size})
		}
	}
	return into
}

// has reports whether a core is in the unit.
func (u *unit) has(core *cputopology.Core) bool { return u.cpus[core.ID/64]>>(core.ID%64)&1 != 0 }

// sortByFree sorts the fullest unit first, which makes the kubelet's choice a best fit.
func sortByFree(units []unit) {
	slices.SortFunc(units, func(a, b unit) int {
		return cmp.Or(cmp.Compare(a.free, b.free), cmp.Compare(a.id, b.id))
	})
}
