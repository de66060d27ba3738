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
	cores    []cputopology.Core
	// words is how many words of a cpuset.Set can hold a CPU of this machine. Looking only at those makes most of
	// the speed.
	words int

	cpus      int // CPUs of the machine
	numaNodes int // NUMA nodes with a CPU

	cpusPerCore, cpusPerSocket, cpusPerUncore int
}

func newMachine(t *cputopology.Topology) machine {
	all := t.CPUs()
	m := machine{topology: t, cores: t.Cores(), words: len(all), cpus: all.Len()}
	for m.words > 1 && all[m.words-1] == 0 {
		m.words--
	}
	for i := range t.NUMANodes() {
		if m.count(&t.NUMANodes()[i].CPUs) > 0 {
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

// unit is a NUMA node, a socket or an uncore cache.
type unit struct {
	id   int
	cpus cpuset.Set
	size int // CPUs it has
	// whole is how many free CPUs make the kubelet believe that all of the unit is free. For a socket that is the
	// mean size of the machine's sockets, not its own.
	whole int
	free  int // CPUs of it that are free, as of the last taking.count
}

// sockets appends the machine's sockets to into.
func (m *machine) sockets(into []unit) []unit {
	list := m.topology.SocketUnits()
	for i := range list {
		into = append(into, unit{id: list[i].ID, cpus: list[i].CPUs, size: m.count(&list[i].CPUs), whole: m.cpusPerSocket})
	}
	return into
}

// uncoreCaches appends the machine's uncore caches to into.
func (m *machine) uncoreCaches(into []unit) []unit {
	list := m.topology.UncoreUnits()
	for i := range list {
		size := m.count(&list[i].CPUs)
		into = append(into, unit{id: list[i].ID, cpus: list[i].CPUs, size: size, whole: size})
	}
	return into
}

// numa appends the machine's NUMA nodes with CPUs to into.
func (m *machine) numa(into []unit) []unit {
	list := m.topology.NUMANodes()
	for i := range list {
		size := m.count(&list[i].CPUs)
		if size > 0 {
			into = append(into, unit{id: list[i].ID, cpus: list[i].CPUs, size: size, whole: size})
		}
	}
	return into
}

// has reports whether a core is in the unit.
func (u *unit) has(core *cputopology.Core) bool { return u.cpus.Has(core.ID) }

// sortByFree sorts the fullest unit first, which makes the kubelet's choice a best fit.
func sortByFree(units []unit) {
	slices.SortFunc(units, func(a, b unit) int {
		return cmp.Or(cmp.Compare(a.free, b.free), cmp.Compare(a.id, b.id))
	})
}
