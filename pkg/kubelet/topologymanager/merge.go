package topologymanager

import "corepin.dev/corepin/pkg/cputopology"

// HintProvider is what one manager says of the NUMA nodes for one resource of one request.
type HintProvider interface {
	// Nodes are the NUMA nodes that hints are made of.
	Nodes() Mask
	// Possible reports whether the NUMA nodes of a mask can serve the request.
	Possible(Mask) bool
	// PreferredSizes are the least and the largest number of NUMA nodes in a preferred hint.
	PreferredSizes() (least, most int)
	// Preferred reports whether a possible mask of such a size is preferred.
	Preferred(Mask) bool
}

// Request asks for the NUMA nodes of a container, or of a pod as a whole.
type Request struct {
	Config   *Config
	Topology *cputopology.Topology
	Provider HintProvider

	// outOfRange are NUMA nodes whose number is no index of the kubelet's distances: see distance.
	outOfRange Mask
	panics     bool
}

// Affinity is the choice of the policy, which is not PolicyNone: NUMA nodes, 0 for none in particular, or
// ErrAffinity, or a Refusal with ReasonPanic.
func (r *Request) Affinity() (Mask, error) {
	if r.Config.Policy == PolicySingleNUMANode {
		return r.singleNUMANode()
	}
	if r.Config.PreferClosestNUMANodes {
		r.outOfRange = Gaps(r.Topology)
	}
	var mask Mask
	var err error
	if r.Config.Policy == PolicyRestricted {
		mask, err = r.restricted()
	} else {
		mask, err = r.bestEffort()
	}
	if r.panics {
		return 0, errPanic
	}
	return mask, err
}

// Gaps are the NUMA nodes whose number is not below the number of NUMA nodes. There are none where the numbers have
// no gaps.
func Gaps(t *cputopology.Topology) Mask {
	var gaps Mask
	nodes := t.NUMANodes()
	for i := range nodes {
		if nodes[i].ID >= len(nodes) {
			gaps |= 1 << i
		}
	}
	return gaps
}

// preferred is the best of the preferred hints: the one with the fewest NUMA nodes, then the closest ones if the
// option asks for that, then the lowest numbered (HintMerger in policy.go, v1.36.3).
func (r *Request) preferred() (Mask, bool) {
	least, most := r.Provider.PreferredSizes()
	for size := least; size <= most; size++ {
		best := r.bestOfSize(size, func(mask Mask) bool {
			return r.Provider.Possible(mask) && r.Provider.Preferred(mask)
		})
		if best != 0 {
			return best, true
		}
	}
	return 0, false
}

// possible is the best of all hints where none is preferred. A single provider's best is one of its smallest.
func (r *Request) possible() (Mask, bool) {
	for size := 1; size <= r.Provider.Nodes().Len(); size++ {
		if best := r.bestOfSize(size, r.Provider.Possible); best != 0 {
			return best, true
		}
	}
	return 0, false
}

// bestOfSize is the best of the hints with size NUMA nodes, or 0.
func (r *Request) bestOfSize(size int, is func(Mask) bool) Mask {
	var best Mask
	nearest := 0.0
	r.Provider.Nodes().ofSize(size, func(mask Mask) bool {
		if !is(mask) {
			return true
		}
		if !r.Config.PreferClosestNUMANodes {
			best = mask
			return false
		}
		r.panics = r.panics || best != 0 && (best|mask)&r.outOfRange != 0
		distance := r.distance(mask)
		if best == 0 || distance < nearest {
			best = mask
			nearest = distance
		}
		return true
	})
	return best
}

// distance is the mean distance between the NUMA nodes of a mask, each to itself included (CalculateAverageFor in
// numa_info.go, v1.36.3). The kubelet takes the number of a NUMA node for its index in the list of distances, which is
// out of range for a number that is too high. It does so when it compares two masks of the same size.
func (r *Request) distance(mask Mask) float64 {
	nodes := r.Topology.NUMANodes()
	sum := 0.0
	for from := mask; from != 0; from = from.Rest() {
		for to := mask; to != 0; to = to.Rest() {
			sum += float64(nodes[from.First()].Distances[to.First()])
		}
	}
	return sum / float64(mask.Len()*mask.Len())
}
