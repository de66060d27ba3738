package kubeletcpu

// bestEffort is the topology manager's policy best-effort: the best hint, preferred or not, and all NUMA
// nodes where there is none (pkg/kubelet/cm/topologymanager/policy_best_effort.go, v1.36.3). The
// request may still be refused for want of CPUs when it comes to taking them.
func bestEffort(r *room) (numaMask, bool) {
	h, found := r.best()
	if !found {
		return 1<<len(r.nodes) - 1, true
	}
	return h.nodes, true
}
