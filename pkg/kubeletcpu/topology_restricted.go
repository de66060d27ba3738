package kubeletcpu

// restricted is the topology manager's policy restricted: the best hint, if it is a preferred one
// (pkg/kubelet/cm/topologymanager/policy_restricted.go, v1.36.3).
func restricted(r *room) (numaMask, bool) {
	h, found := r.best()
	return h.nodes, found && h.preferred
}
