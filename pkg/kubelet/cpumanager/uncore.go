// SPDX-License-Identifier: Apache-2.0

package cpumanager

import (
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
)

// takeUncore is the option prefer-align-cpus-by-uncorecache, a step of pack (takeUncoreCache in cpu_assignment.go,
// v1.36.3). It takes whole uncore caches while more than one of mean size is needed, and then the rest from the first
// cache that can serve all of it. From 1.38 on it takes all whole caches that are not more than needed first.
func (t *taking) takeUncore(outer, inner []unit, numaFirst bool) {
	var array [8]unit
	caches := t.uncoreCaches(array[:0])
	var numaArray, orderArray [8]int
	ordered := func(into []int) []int {
		numa, order := outer, numaArray[:0]
		if numaFirst {
			order = t.ordered(outer, order)
		} else {
			numa, order = inner, t.nested(outer, inner, order)
		}
		t.ordered(caches, into)
		for _, n := range order {
			for c := range caches {
				if caches[c].free > 0 && t.meetFree(numa[n].cpus, caches[c].cpus) {
					into = append(into, c)
				}
			}
		}
		return into
	}
	if t.need < 1 {
		return
	}
	if t.minor.takesFullCachesFirst() {
		t.takeFullCachesFirst(caches, once(ordered(orderArray[:0])))
		return
	}
	// The walk is by id, since each step may sort caches anew.
	var walk []int
	for _, c := range ordered(orderArray[:0]) {
		walk = append(walk, caches[c].id)
	}
	for _, id := range walk {
		if t.need >= t.cpusPerUncore {
			t.takeWhole(caches, ordered(orderArray[:0]))
		}
		if t.need < 1 {
			return
		}
		for c := range caches {
			if caches[c].id == id {
				t.takePartOf(&caches[c])
			}
		}
		if t.need < 1 {
			return
		}
	}
}

// takeFullCachesFirst takes whole caches, and then the rest from the first cache that can serve all of it.
func (t *taking) takeFullCachesFirst(caches []unit, order []int) {
	t.takeWhole(caches, order)
	for _, c := range order {
		if t.need < 1 {
			return
		}
		t.takePartOf(&caches[c])
	}
}

// once is the list with only the first of equal elements, in place.
func once(list []int) []int {
	kept := list[:0]
	for _, element := range list {
		if !slices.Contains(kept, element) {
			kept = append(kept, element)
		}
	}
	return kept
}

// takePartOf takes what is still needed from a cache's lowest cores with a free CPU, if those have exactly enough.
// Where an odd number is needed and there is one CPU too many, the highest is left out.
func (t *taking) takePartOf(cache *unit) {
	cores := (t.need + t.cpusPerCore - 1) / t.cpusPerCore
	var part cpuset.Set
	for c := range t.cores {
		core := &t.cores[c]
		if cores > 0 && core.UncoreCache == cache.id && t.common(&core.CPUs, &t.free) > 0 {
			part = part.Union(core.CPUs.Intersect(t.free))
			cores--
		}
	}
	if t.need%2 != 0 && t.cpusPerCore > 1 && t.count(&part) > t.need {
		highest := -1
		for id := range part.All() {
			highest = id
		}
		part.Remove(highest)
	}
	if t.count(&part) == t.need {
		t.take(&part)
	}
}
