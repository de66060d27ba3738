package kubeletcpu

import (
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// This file is the kubelet's packed allocator (takeByTopologyNUMAPacked in
// pkg/kubelet/cm/cpumanager/cpu_assignment.go, v1.36.3; the same since 1.34).
//
// Two of its habits surprise on irregular machines, and are kept, since the aim is to know what the
// kubelet does. A socket or a core counts as free when it has as many free CPUs as the machine's mean
// one, and is then taken whole, with CPUs that may not be free: Decision.NotFree names those. And a
// unit that lies in two parents stands in the lists twice and is counted twice.

// taking is one run of an allocator: it moves CPUs from free to taken until it needs no more.
type taking struct {
	*machine
	free, taken cpuset.Set
	need        int
}

// refusal is why the kubelet refuses; the zero value is that it does not.
type refusal struct{ reason, message string }

func unexpected(format string, args ...any) refusal {
	return refusal{ReasonUnexpected, "Allocate failed due to " + fmt.Sprintf(format, args...) + ", which is unexpected"}
}

// take takes cpus, which count as many as they are even if some were not free.
func (t *taking) take(cpus *cpuset.Set) {
	t.need -= t.count(cpus)
	for w := range t.words {
		t.taken[w] |= cpus[w]
		t.free[w] &^= cpus[w]
	}
}

// enough refuses what cannot be satisfied at all.
func (t *taking) enough() refusal {
	if free := t.count(&t.free); t.need > free {
		return unexpected("not enough cpus available to satisfy request: requested=%d, available=%d", t.need, free)
	}
	return refusal{}
}

// pack takes whole NUMA nodes and sockets, then (if asked) whole uncore caches, then whole cores, then
// single CPUs; the larger of NUMA node and socket comes first. At each step the fullest unit that still
// serves is preferred, so that large holes stay large.
func (t *taking) pack(o *CPUManagerOptions) refusal {
	if t.need < 1 {
		return refusal{}
	}
	if r := t.enough(); r.reason != "" {
		return r
	}
	var numaArray, socketArray [4]unit
	outer, inner := t.numa(numaArray[:0]), t.sockets(socketArray[:0])
	numaFirst := len(inner) >= len(outer)
	if !numaFirst {
		outer, inner = inner, outer
	}
	var array [8]int
	if t.needsWhole(outer) {
		t.takeWhole(outer, t.ordered(outer, array[:0]))
	}
	if t.needsWhole(inner) {
		t.takeWhole(inner, t.nested(outer, inner, array[:0]))
	}
	if o.PreferAlignCPUsByUncoreCache {
		t.takeUncore(outer, inner, numaFirst)
	}
	if o.DistributeCPUsAcrossCores {
		t.takeSpread(outer, inner, numaFirst)
		return refusal{}
	}
	t.takeWholeCores(inner, t.nested(outer, inner, array[:0]))
	t.takeSingly(inner, t.nested(outer, inner, array[:0]))
	return refusal{}
}

// ordered counts and sorts units and gives the indexes of those with a free CPU.
func (t *taking) ordered(units []unit, into []int) []int {
	for i := range units {
		units[i].free = t.common(&units[i].cpus, &t.free)
	}
	sortByFree(units)
	for i := range units {
		if units[i].free > 0 {
			into = append(into, i)
		}
	}
	return into
}

// nested gives the indexes of inner units in the order in which the kubelet goes through them: for each
// outer unit, the fullest first, those that have a free CPU in it, the fullest first.
func (t *taking) nested(outer, inner []unit, into []int) []int {
	if t.need < 1 {
		return into
	}
	t.ordered(inner, into)
	t.ordered(outer, into)
	for o := range outer {
		for i := range inner {
			if outer[o].free > 0 && inner[i].free > 0 && t.meet(&outer[o].cpus, &inner[i].cpus) {
				into = append(into, i)
			}
		}
	}
	return into
}

// meet tells whether a and b share a free CPU.
func (t *taking) meet(a, b *cpuset.Set) bool {
	for w := range t.words {
		if a[w]&b[w]&t.free[w] != 0 {
			return true
		}
	}
	return false
}

// needsWhole tells whether any unit is small enough to be taken whole: mostly none is, and the rest of the
// step can be saved.
func (t *taking) needsWhole(units []unit) bool {
	for i := range units {
		if t.need >= units[i].size {
			return true
		}
	}
	return false
}

// takeWhole takes the units that are free as a whole and not more than needed.
func (t *taking) takeWhole(units []unit, order []int) {
	for _, i := range order {
		if u := &units[i]; u.free == u.whole && t.need >= u.size {
			t.take(&u.cpus)
		}
	}
}

// takeWholeCores takes the cores that are free as a whole, by id in each parent.
func (t *taking) takeWholeCores(parents []unit, order []int) {
	free := t.free
	for _, i := range order {
		for c := range t.cores {
			if t.need < 1 {
				return
			}
			core := &t.cores[c]
			if t.common(&core.CPUs, &free) == t.cpusPerCore && parents[i].has(core) && t.need >= t.count(&core.CPUs) {
				t.take(&core.CPUs)
			}
		}
	}
}

// takeSingly takes CPUs one by one, the cores with the fewest free CPUs first.
func (t *taking) takeSingly(parents []unit, order []int) {
	free := t.free
	for _, i := range order {
		for most := 1; most <= t.topology.ThreadsPerCore(); most++ {
			for c := range t.cores {
				core := &t.cores[c]
				if t.common(&core.CPUs, &free) == most && parents[i].has(core) && t.takeFrom(core, &free) {
					return
				}
			}
		}
	}
}

// takeFrom takes CPUs of a core, lowest id first; it tells whether that was enough.
func (t *taking) takeFrom(core *cputopology.Core, free *cpuset.Set) bool {
	for id := range core.CPUs.Intersect(*free).All() {
		if t.takeOne(id) {
			return true
		}
	}
	return false
}

// takeOne takes one CPU; it tells whether that was enough.
func (t *taking) takeOne(id int) bool {
	t.taken.Add(id)
	t.free.Remove(id)
	t.need--
	return t.need < 1
}

// takeSpread takes CPUs one by one in the order of their ids in each socket, which on most machines
// spreads them over the cores. This is what the option distribute-cpus-across-cores does in place of
// whole cores and single CPUs.
func (t *taking) takeSpread(outer, inner []unit, numaFirst bool) {
	if t.need < 1 {
		return
	}
	var array [8]int
	sockets, order := inner, t.nested(outer, inner, array[:0])
	if !numaFirst {
		sockets, order = outer, t.ordered(outer, array[:0])
	}
	free := t.free
	for _, i := range order {
		for id := range sockets[i].cpus.Intersect(free).All() {
			if t.takeOne(id) {
				return
			}
		}
	}
}
