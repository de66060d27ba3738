package memorymanager

import (
	"slices"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// Hints is what the memory manager says of the NUMA nodes for one request (calculateHints). It is a
// topologymanager.HintProvider, and counts as many times as the request has types: the kubelet makes the same list for
// each of them.
type Hints struct {
	state    *State
	request  []Quantity
	reusable []Block
	fewest   int // NUMA nodes that the request needs on an empty machine
}

// Hints are the hints for a request. ok is false where there are none, which the topology manager takes for no
// preference.
func (s *Static) Hints(request []Quantity) (h Hints, ok bool) {
	h = Hints{state: &s.State, request: request, reusable: s.reusable, fewest: len(s.State.NUMANodes)}
	if len(request) == 0 {
		return h, false
	}
	for size := h.fewest - 1; size >= 1; size-- {
		if h.some(size, h.allocatable) {
			h.fewest = size
		}
	}
	return h, h.first(func(topologymanager.Mask) bool { return true }) != 0
}

// some reports whether f is true for a set of size NUMA nodes.
func (h *Hints) some(size int, f func(topologymanager.Mask) bool) bool {
	found := false
	h.state.all().OfSize(size, func(mask topologymanager.Mask) bool {
		found = f(mask)
		return !found
	})
	return found
}

// first is the possible mask for which f is true with the fewest NUMA nodes, then the lowest numbered, or 0. Where
// there is a preferred one, it is that (findBestHint).
func (h *Hints) first(f func(topologymanager.Mask) bool) topologymanager.Mask {
	var best topologymanager.Mask
	for size := 1; size <= len(h.state.NUMANodes) && best == 0; size++ {
		h.state.all().OfSize(size, func(mask topologymanager.Mask) bool {
			if h.Possible(mask) && f(mask) {
				best = mask
			}
			return best == 0
		})
	}
	return best
}

// Nodes are all NUMA nodes, with memory or not.
func (h *Hints) Nodes() topologymanager.Mask { return h.state.all() }

// Possible reports whether the NUMA nodes of mask can serve the request.
func (h *Hints) Possible(mask topologymanager.Mask) bool {
	if !h.allocatable(mask) || h.state.violates(mask) {
		return false
	}
	if mask.Len() == 1 && h.state.NUMANodes[mask.First()].Group.Len() > 1 {
		return false
	}
	for _, q := range h.request {
		if h.state.free(mask, q.Type)+reusableOn(h.reusable, mask, q.Type) < q.Bytes {
			return false
		}
	}
	return true
}

// PreferredSizes is the number of NUMA nodes that an empty machine needs.
func (h *Hints) PreferredSizes() (least, most int) { return h.fewest, h.fewest }

// Preferred reports whether a possible mask has that many.
func (h *Hints) Preferred(mask topologymanager.Mask) bool { return mask.Len() == h.fewest }

// allocatable reports whether the NUMA nodes of mask would have enough if nothing were allocated.
func (h *Hints) allocatable(mask topologymanager.Mask) bool {
	for _, q := range h.request {
		at := slices.Index(h.state.Types, q.Type)
		var sum uint64
		for rest := mask; rest != 0; rest = rest.Rest() {
			sum += h.state.NUMANodes[rest.First()].Memory[at].Allocatable
		}
		if sum < q.Bytes {
			return false
		}
	}
	return true
}

// free is how much of a type is free on the NUMA nodes of mask.
func (s *State) free(mask topologymanager.Mask, name string) uint64 {
	at := slices.Index(s.Types, name)
	var sum uint64
	for ; mask != 0; mask = mask.Rest() {
		sum += s.NUMANodes[mask.First()].Memory[at].Free
	}
	return sum
}

// violates reports whether an allocation on several NUMA nodes would mix with single ones, or with another group
// (isAffinityViolatingNUMAAllocations).
func (s *State) violates(mask topologymanager.Mask) bool {
	if mask.Len() == 1 {
		return false
	}
	for rest := mask; rest != 0; rest = rest.Rest() {
		node := &s.NUMANodes[rest.First()]
		if node.Assignments > 0 && node.Group != mask {
			return true
		}
	}
	return false
}
