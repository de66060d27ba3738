// SPDX-License-Identifier: Apache-2.0

package topologymanager

// singleNUMANode is the policy single-numa-node: the lowest numbered NUMA node that is possible and preferred for every
// provider (policy_single_numa_node.go, v1.36.3). On a machine with one NUMA node it names none: the managers then say
// otherwise that they have too little.
func (r *Request) singleNUMANode() (Affinity, error) {
	nodes := r.all()
	for _, p := range r.Providers {
		least, _ := p.PreferredSizes()
		if least > 1 {
			return Affinity{}, ErrAffinity
		}
		nodes &= p.Nodes()
	}
	if len(r.Providers) == 0 {
		return Affinity{0, true}, nil
	}
	for rest := nodes; rest != 0; rest = rest.Rest() {
		mask := rest & -rest
		if !r.allPrefer(mask) {
			continue
		}
		if mask == r.all() {
			return Affinity{0, true}, nil
		}
		return Affinity{mask, true}, nil
	}
	return Affinity{}, ErrAffinity
}
