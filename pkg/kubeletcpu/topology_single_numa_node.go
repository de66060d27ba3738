package kubeletcpu

// singleNUMANode is the topology manager's policy single-numa-node: the lowest numbered NUMA node that
// has room (pkg/kubelet/cm/topologymanager/policy_single_numa_node.go, v1.36.3).
func singleNUMANode(r *room) (numaMask, bool) {
	for i := range r.nodes {
		if mask := numaMask(1) << i; r.fits(mask) {
			return mask, true
		}
	}
	return 0, false
}
