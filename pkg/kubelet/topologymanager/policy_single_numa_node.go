package topologymanager

// singleNUMANode is the policy single-numa-node: the lowest numbered NUMA node that is possible and preferred
// (policy_single_numa_node.go, v1.36.3). On a machine with one NUMA node it names none: the managers then say
// otherwise that they have too little.
func (r *Request) singleNUMANode() (Mask, error) {
	if least, _ := r.Provider.PreferredSizes(); least > 1 {
		return 0, ErrAffinity
	}
	for rest := r.Provider.Nodes(); rest != 0; rest = rest.Rest() {
		mask := Mask(1) << rest.First()
		if r.Provider.Possible(mask) && r.Provider.Preferred(mask) {
			if len(r.Topology.NUMANodes()) == 1 {
				return 0, nil
			}
			return mask, nil
		}
	}
	return 0, ErrAffinity
}
