// SPDX-License-Identifier: Apache-2.0

package cpumanager

import (
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// This file is the kubelet's packed allocator (takeByTopologyNUMAPacked in cpu_assignment.go, v1.36.3; the same in 1.34 to
// 1.37, and but for what minor.go says in v1.38.0-beta.0).
//
// Two of its properties surprise on irregular machines. They are kept, since the aim is to know what the kubelet does.
// Up to 1.37 a socket or a core counts as free when it has as many free CPUs as the machine's mean one. It is then taken
// whole, with CPUs that may not be free: Static.NotFree names those. And a unit that lies in two parents is listed twice
// and counted twice.

// taking is one run of an allocator: it moves CPUs from free to taken until it needs no more.
type taking struct {
	*machine
	free, taken cpuset.Set
	need        int
	// hintNodes is how many NUMA nodes the topology manager chose, or 0 where it has no say.
	hintNodes int
}

// take takes cpus. Those that were not free count, too.
func (t *taking) take(cpus *cpuset.Set) {
	t.need -= t.count(cpus)
	for w := range t.words {
		t.taken[w] |= cpus[w]
		t.free[w] &^= cpus[w]
	}
}

// enough returns an error where fewer CPUs are free than needed.
func (t *taking) enough() error {
	free := t.count(&t.free)
	if t.need > free {
		return fmt.Errorf("not enough cpus available to satisfy request: requested=%d, available=%d", t.need, free)
	}
	return nil
}

// pack takes whole NUMA nodes and sockets, then whole uncore caches if an option asks for it, then whole cores, then
// single CPUs. The larger of NUMA node and socket comes first. Each step prefers the fullest unit that still serves,
// so that large holes stay large.
func (t *taking) pack(o *Options) error {
	if t.need < 1 {
		return nil
	}
	if err := t.enough(); err != nil {
		return err
	}
	var numaArray, socketArray [4]unit
	outer := t.numa(numaArray[:0])
	inner := t.sockets(socketArray[:0])
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
		return nil
	}
	t.takeWholeCores(inner, t.nested(outer, inner, array[:0]))
	t.takeSingly(inner, t.nested(outer, inner, array[:0]))
	return nil
}

// ordered counts and sorts units and gives the indexes of those with a free CPU.
func (t *taking) ordered(units []unit, into []int) []int {
	for i := range units {
		units[i].free = t.common(units[i].cpus, &t.free)
	}
	sortByFree(units)
	for i := range units {
		if units[i].free > 0 {
			into = append(into, i)
		}
	}
	return into
}

// nested gives the indexes of inner units in the order in which the kubelet goes through them. For each outer unit,
// the fullest first, these are the inner units with a free CPU in it, the fullest first.
func (t *taking) nested(outer, inner []unit, into []int) []int {
	if t.need < 1 {
		return into
	}
	t.ordered(inner, into)
	t.ordered(outer, into)
	for o := range outer {
		for i := range inner {
			if outer[o].free > 0 && inner[i].free > 0 && t.meetFree(outer[o].cpus, inner[i].cpus) {
				into = append(into, i)
			}
		}
	}
	return into
}

// meetFree reports whether a and b share a free CPU.
func (t *taking) meetFree(a, b *cpuset.Set) bool {
	for w := range t.words {
		if a[w]&b[w]&t.free[w] != 0 {
			return true
		}
	}
	return false
}

// needsWhole reports whether any unit is small enough to be taken whole. Mostly none is, and the rest of the step can
// be skipped.
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
		u := &units[i]
		if u.free == u.whole && t.need >= u.size {
			t.take(u.cpus)
		}
	}
}

// takeWholeCores takes the cores that are free as a whole, in each parent by the number of their free CPUs and by id. Up to
// 1.37 all that count as free have the same number.
func (t *taking) takeWholeCores(parents []unit, order []int) {
	free := t.free
	least := t.cpusPerCore
	most := t.cpusPerCore
	if t.minor.countsOwnCPUs() {
		least = 1
		most = t.topology.ThreadsPerCore()
	}
	for _, i := range order {
		for size := least; size <= most; size++ {
			t.takeCores(&parents[i], &free, size)
		}
	}
}

// takeCores takes the cores of a parent that have size free CPUs and count as free with that.
func (t *taking) takeCores(parent *unit, free *cpuset.Set, size int) {
	for c := range t.cores {
		core := &t.cores[c]
		if t.need < 1 {
			return
		}
		if !parent.has(core) || t.common(&core.CPUs, free) != size {
			continue
		}
		own := t.count(&core.CPUs)
		if t.need >= own && (own == size || !t.minor.countsOwnCPUs()) {
			t.take(&core.CPUs)
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
				if parents[i].has(core) && t.common(&core.CPUs, &free) == most && t.takeFrom(core, &free) {
					return
				}
			}
		}
	}
}

// takeFrom takes CPUs of a core, lowest id first, and reports whether that was enough.
func (t *taking) takeFrom(core *cputopology.Core, free *cpuset.Set) bool {
	for id := range core.CPUs.Intersect(*free).All() {
		if t.takeOne(id) {
			return true
		}
	}
	return false
}

// takeOne takes one CPU, and reports whether that was enough.
func (t *taking) takeOne(id int) bool {
	t.taken.Add(id)
	t.free.Remove(id)
	t.need--
	return t.need < 1
}

// takeSpread takes CPUs one by one, socket by socket. The option distribute-cpus-across-cores does this in place of whole
// cores and single CPUs. Up to 1.37 it goes by the ids of CPUs, which on most machines spreads them over the cores.
func (t *taking) takeSpread(outer, inner []unit, numaFirst bool) {
	if t.need < 1 {
		return
	}
	var array [8]int
	sockets := inner
	order := t.nested(outer, inner, array[:0])
	if !numaFirst {
		sockets, order = outer, t.ordered(outer, array[:0])
	}
	free := t.free
	for _, i := range order {
		if t.minor.goesAroundCores() {
			if t.takeAround(&sockets[i], &free) {
				return
			}
			continue
		}
		for id := range sockets[i].cpus.Intersect(free).All() {
			if t.takeOne(id) {
				return
			}
		}
	}
}

// takeAround takes a CPU of each core of a socket, then a second one of each, and so on, and reports whether that was
// enough. Each time the cores with the fewest free CPUs come first.
func (t *taking) takeAround(socket *unit, free *cpuset.Set) bool {
	for turn := range t.topology.ThreadsPerCore() {
		for size := turn + 1; size <= t.topology.ThreadsPerCore(); size++ {
			for c := range t.cores {
				core := &t.cores[c]
				if !socket.has(core) || t.common(&core.CPUs, free) != size {
					continue
				}
				if t.takeOne(core.CPUs.Intersect(*free).List()[turn]) {
					return true
				}
			}
		}
	}
	return false
}
