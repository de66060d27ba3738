package admission

import (
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// The kubelets whose rules are known, from their sources.
const (
	oldestMinor = 34
	newestMinor = 37
)

// Inexact is "" where Admit of p is what the kubelet will do. Otherwise it says why that cannot be promised, for a
// person to read, and a prediction must not be taken for a fit. Not modelled are the memory manager, devices with a
// NUMA node, and options and kubelets newer than this package. Neither are nodes whose kubelet would not have started
// with what is reported of them.
func (n *Node) Inexact(p Pod) string {
	if n.Topology == nil || n.Topology.CPUs().IsEmpty() {
		return "the node's CPU topology is not known"
	}
	if n.Minor < oldestMinor || n.Minor > newestMinor {
		return fmt.Sprintf("the rules of kubelet 1.%d are not known, only those of 1.%d to 1.%d", n.Minor, oldestMinor, newestMinor)
	}
	if n.MemoryManager != "" && n.MemoryManager != "None" && p.Guaranteed {
		return fmt.Sprintf("memory manager policy %s is not modelled", n.MemoryManager)
	}
	if p.Device != "" && n.TopologyManager.Policy != topologymanager.PolicyNone {
		return fmt.Sprintf("the NUMA nodes of device %s are not modelled", p.Device)
	}
	if n.CPUManager.Policy != cpumanager.PolicyStatic {
		return ""
	}
	if !n.Exclusive(&p) {
		return ""
	}
	if n.CPUManager.Options.Unknown != "" {
		return "CPU manager option " + n.CPUManager.Options.Unknown + " is not known"
	}
	if why := n.inexactPools(); why != "" {
		return why
	}
	if why := n.inexactTopologyManager(); why != "" {
		return why
	}
	return n.tooLong(&p)
}

// inexactPools checks the reserved CPUs and the shared pool as the kubelet does when it starts
// (validateState in pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3).
func (n *Node) inexactPools() string {
	all := n.Topology.CPUs()
	for _, pool := range []struct {
		name string
		cpus cpuset.Set
	}{{"reserved", n.Reserved}, {"shared", n.Shared}} {
		strange := pool.cpus.Minus(all)
		if !strange.IsEmpty() {
			return fmt.Sprintf("%s CPUs %s are not online", pool.name, strange)
		}
	}
	strict := n.CPUManager.Options.StrictCPUReservation
	both := n.Reserved.Intersect(n.Shared)
	if strict && !both.IsEmpty() {
		return fmt.Sprintf("reserved CPUs %s are in the shared pool in spite of strict-cpu-reservation", both)
	}
	missing := n.Reserved.Minus(n.Shared)
	if !strict && !missing.IsEmpty() {
		return fmt.Sprintf("reserved CPUs %s are not in the shared pool", missing)
	}
	return ""
}

func (n *Node) inexactTopologyManager() string {
	if n.CPUManager.Options.AlignBySocket && len(n.Topology.Sockets()) > n.numaNodes().Len() {
		return "a kubelet with align-by-socket does not start on a machine with more sockets than NUMA nodes"
	}
	why := n.TopologyManager.Inexact(n.Topology)
	if why != "" {
		return why
	}
	if !n.CPUManager.Options.AlignBySocket {
		return ""
	}
	policy := n.TopologyManager.Policy
	switch {
	case policy == topologymanager.PolicySingleNUMANode:
		return "a kubelet does not start with both align-by-socket and single-numa-node"
	case policy != topologymanager.PolicyNone && n.TopologyManager.PreferClosestNUMANodes && topologymanager.Gaps(n.Topology) != 0:
		return "a kubelet with prefer-closest-numa-nodes and align-by-socket may panic where the numbers of NUMA nodes have gaps"
	}
	return ""
}
