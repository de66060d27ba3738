// SPDX-License-Identifier: Apache-2.0

package memorymanager

import "corepin.dev/corepin/pkg/kubelet/topologymanager"

// Hints is what the memory manager says of the NUMA nodes for one request (calculateHints). It is a
// topologymanager.HintProvider, and counts as many times as the request has types: the kubelet makes the same list for
// each of them. It is valid until the state changes, or the policy makes other hints.
type Hints struct {
	state    *State
	request  []Quantity
	types    []int // of request, as places in State.Types
	reusable []Block
	fewest   int // NUMA nodes that the request needs on an empty machine
}

// Hints are the hints for a request of known types (State.Knows). ok is false where there are none, which the topology
// manager takes for no preference.
func (s *Static) Hints(request []Quantity) (h *Hints, ok bool) {
	h = &s.hints
	*h = Hints{state: &s.State, request: request, types: h.types[:0], reusable: s.reusable, fewest: len(s.State.NUMANodes)}
	if len(request) == 0 {
		return h, false
	}
	for i := range request {
		h.types = append(h.types, s.State.index(request[i].Type))
	}
	for size := 1; size < h.fewest; size++ {
		if h.someAllocatable(size) {
			h.fewest = size
		}
	}
	return h, h.first(0) != 0
}

// someAllocatable reports whether any set of size NUMA nodes would have enough if nothing were allocated.
func (h *Hints) someAllocatable(size int) bool {
	found := false
	h.state.all().OfSize(size, func(mask topologymanager.Mask) bool {
		found = h.allocatable(mask)
		return !found
	})
	return found
}

// first is the possible mask that includes another one and has the fewest NUMA nodes, then the lowest numbered, or 0.
// Where there is a preferred one, it is that (findBestHint).
func (h *Hints) first(with topologymanager.Mask) topologymanager.Mask {
	var best topologymanager.Mask
	for size := max(1, with.Len()); size <= len(h.state.NUMANodes) && best == 0; size++ {
		h.state.all().OfSize(size, func(mask topologymanager.Mask) bool {
			if mask&with == with && h.Possible(mask) {
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
	if mask.Len() == 1 && h.state.NUMANodes[mask.First()].Group.Len() > 1 {
		return false
	}
	return h.allocatable(mask) && !h.state.violates(mask) && h.enough(mask, h.reusable)
}

// PreferredSizes is the number of NUMA nodes that an empty machine needs.
func (h *Hints) PreferredSizes() (least, most int) { return h.fewest, h.fewest }

// Preferred reports whether a possible mask has that many.
func (h *Hints) Preferred(mask topologymanager.Mask) bool { return mask.Len() == h.fewest }

// allocatable reports whether the NUMA nodes of mask would have enough if nothing were allocated.
func (h *Hints) allocatable(mask topologymanager.Mask) bool {
	for i, at := range h.types {
		var sum uint64
		for rest := mask; rest != 0; rest = rest.Rest() {
			sum += h.state.NUMANodes[rest.First()].Memory[at].Allocatable
		}
		if sum < h.request[i].Bytes {
			return false
		}
	}
	return true
}

// enough reports whether the NUMA nodes of mask have enough free memory, or memory that the pod may reuse.
func (h *Hints) enough(mask topologymanager.Mask, reusable []Block) bool {
	for i, at := range h.types {
		q := &h.request[i]
		var sum uint64
		for rest := mask; rest != 0; rest = rest.Rest() {
			sum += h.state.NUMANodes[rest.First()].Memory[at].Free
		}
		if sum < q.Bytes && sum+reusableOn(reusable, mask, q.Type) < q.Bytes {
			return false
		}
	}
	return true
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
