// SPDX-License-Identifier: Apache-2.0

package topologymanager

import "corepin.dev/corepin/pkg/cputopology"

// HintProvider is what one manager says of the NUMA nodes for one resource of one request. A manager that has no
// preference is no provider of the request.
type HintProvider interface {
	// Nodes are the NUMA nodes that hints are made of.
	Nodes() Mask
	// Possible reports whether a set of these NUMA nodes can serve the request.
	Possible(Mask) bool
	// PreferredSizes are the least and the largest number of NUMA nodes in a preferred hint.
	PreferredSizes() (least, most int)
	// Preferred reports whether a possible mask of such a size is preferred.
	Preferred(Mask) bool
}

// Request asks for the NUMA nodes of a container, or of a pod as a whole.
type Request struct {
	Config    *Config
	Topology  *cputopology.Topology
	Providers []HintProvider

	// outOfRange are NUMA nodes whose number is no index of the kubelet's distances: see distance.
	outOfRange Mask
	panics     bool
}

// Affinity is the NUMA nodes that a policy has chosen, 0 for none in particular.
type Affinity struct {
	NUMANodes Mask
	// Preferred is set where every provider prefers them.
	Preferred bool
}

// Affinity is the choice of the policy, which is not PolicyNone, or ErrAffinity, or a Refusal with ReasonPanic.
func (r *Request) Affinity() (Affinity, error) {
	switch {
	case r.Config.Policy == PolicySingleNUMANode:
		return r.singleNUMANode()
	case len(r.Providers) == 0:
		return Affinity{r.all(), true}, nil
	}
	if r.Config.PreferClosestNUMANodes {
		r.outOfRange = Gaps(r.Topology)
	}
	var affinity Affinity
	var err error
	if r.Config.Policy == PolicyRestricted {
		affinity, err = r.restricted()
	} else {
		affinity = r.bestEffort()
	}
	if r.panics {
		return Affinity{}, errPanic
	}
	return affinity, err
}

// all are the machine's NUMA nodes.
func (r *Request) all() Mask { return Mask(1)<<len(r.Topology.NUMANodes()) - 1 }

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
// option asks for that, then the lowest numbered (HintMerger in policy.go, v1.36.3). Merged hints are preferred only
// where all providers prefer the same NUMA nodes.
func (r *Request) preferred() (Mask, bool) {
	nodes := r.all()
	least := 1
	most := nodes.Len()
	for _, p := range r.Providers {
		nodes &= p.Nodes()
		low, high := p.PreferredSizes()
		least = max(least, low)
		most = min(most, high)
	}
	for size := least; size <= most; size++ {
		best := r.bestOfSize(nodes, size, r.allPrefer)
		if best != 0 {
			return best, true
		}
	}
	return 0, false
}

// allPrefer reports whether a mask is possible and preferred for every provider.
func (r *Request) allPrefer(mask Mask) bool {
	for _, p := range r.Providers {
		if !p.Possible(mask) || !p.Preferred(mask) {
			return false
		}
	}
	return true
}

// possible is the best of all hints where none is preferred.
func (r *Request) possible() (Mask, bool) {
	if len(r.Providers) > 1 {
		return r.merged()
	}
	provider := r.Providers[0]
	for size := 1; size <= provider.Nodes().Len(); size++ { // A single provider's best is one of its smallest.
		best := r.bestOfSize(provider.Nodes(), size, provider.Possible)
		if best != 0 {
			return best, true
		}
	}
	return 0, false
}

// bestOfSize is the best of the subsets of nodes with size NUMA nodes for which is is true, or 0.
func (r *Request) bestOfSize(nodes Mask, size int, is func(Mask) bool) Mask {
	var best Mask
	nearest := 0.0
	nodes.OfSize(size, func(mask Mask) bool {
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
// numa_info.go, v1.36.3). The kubelet takes the number of a NUMA node for its index in the list of distances. Where the
// numbers have gaps, it reads the distance to another NUMA node, or one out of range: then bestOfSize says that it panics.
func (r *Request) distance(mask Mask) float64 {
	nodes := r.Topology.NUMANodes()
	sum := 0.0
	for from := mask; from != 0; from = from.Rest() {
		distances := nodes[from.First()].Distances
		for to := mask; to != 0; to = to.Rest() {
			index := nodes[to.First()].ID
			if index < len(distances) {
				sum += float64(distances[index])
			}
		}
	}
	return sum / float64(mask.Len()*mask.Len())
}
