// SPDX-License-Identifier: Apache-2.0

package topologymanager

// This file merges the hints of several providers where no hint is preferred. The kubelet goes through the product of
// all lists of hints, intersects each combination, and keeps the best intersection (HintMerger in policy.go, v1.36.3).
// The choice is the best by a total order, so only the set of intersections matters. A fold over the providers gives
// it, in n * 2^n steps for each of them.

// merged is the best intersection of hints, one of each provider. A provider without any hint counts for nothing.
func (r *Request) merged() (Mask, bool) {
	nodes := Mask(0)
	for _, p := range r.Providers {
		nodes |= p.Nodes()
	}
	var found []bool // by compact mask: whether it is an intersection
	wanted := 0      // the kubelet's bestNonPreferredAffinityCount
	for _, p := range r.Providers {
		hints, smallest := hintsOf(p, nodes)
		if smallest == 0 {
			continue
		}
		wanted = max(wanted, smallest)
		if found == nil {
			found = hints
		} else {
			found = intersections(found, hints)
		}
	}
	if found == nil {
		return 0, false
	}
	return r.closestTo(wanted, nodes, func(mask Mask) bool { return found[mask.compact(nodes)] })
}

// hintsOf are the hints of a provider by compact mask, and the size of the smallest. It is 0 where there are none.
func hintsOf(p HintProvider, nodes Mask) (hints []bool, smallest int) {
	hints = make([]bool, 1<<nodes.Len())
	for size := 1; size <= p.Nodes().Len(); size++ {
		p.Nodes().OfSize(size, func(mask Mask) bool {
			if p.Possible(mask) {
				hints[mask.compact(nodes)] = true
				if smallest == 0 {
					smallest = size
				}
			}
			return true
		})
	}
	return hints, smallest
}

// intersections says of each mask whether it is the intersection of one of a and one of b. How often it is follows
// from sums over supersets: those of the product are the products of those of a and b.
func intersections(a, b []bool) []bool {
	sumsA := supersetSums(a)
	sumsB := supersetSums(b)
	for mask := range sumsA {
		sumsA[mask] *= sumsB[mask]
	}
	for bit := 1; bit < len(a); bit <<= 1 {
		for mask := range sumsA {
			if mask&bit == 0 {
				sumsA[mask] -= sumsA[mask|bit]
			}
		}
	}
	is := make([]bool, len(a))
	for mask, times := range sumsA {
		is[mask] = times > 0
	}
	return is
}

// supersetSums counts for each mask how many of its supersets are in the set.
func supersetSums(set []bool) []int {
	sums := make([]int, len(set))
	for mask, in := range set {
		if in {
			sums[mask] = 1
		}
	}
	for bit := 1; bit < len(set); bit <<= 1 {
		for mask := range sums {
			if mask&bit == 0 {
				sums[mask] += sums[mask|bit]
			}
		}
	}
	return sums
}

// closestTo is the best mask that is not preferred: of the wanted size, else of the next smaller one, else of the next
// larger one (compare in policy.go, v1.36.3).
func (r *Request) closestTo(wanted int, nodes Mask, is func(Mask) bool) (Mask, bool) {
	for size := wanted; size >= 1; size-- {
		best := r.bestOfSize(nodes, size, is)
		if best != 0 {
			return best, true
		}
	}
	for size := wanted + 1; size <= nodes.Len(); size++ {
		best := r.bestOfSize(nodes, size, is)
		if best != 0 {
			return best, true
		}
	}
	return 0, false
}
