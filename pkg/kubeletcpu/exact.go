package kubeletcpu

import (
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
)

// The kubelets whose rules are known, from their sources.
const (
	oldestMinor = 34
	newestMinor = 37
)

// Inexact is "" where Admit of p is what the kubelet will do, and else why that cannot be promised, for a
// person to read. Then a prediction may be a guess, never a fit. What is not modelled: the memory manager,
// devices with a NUMA node, options and kubelets newer than this package, and nodes whose kubelet would not
// have started with what is said of them.
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
	if p.Device != "" && n.TopologyManager.Policy != TopologyNone {
		return fmt.Sprintf("the NUMA nodes of device %s are not modelled", p.Device)
	}
	if n.CPUManager.Policy != CPUManagerStatic {
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
	return n.inexactTopologyManager()
}

// inexactPools checks the reserved CPUs and the shared pool as the kubelet does when it starts
// (validateState in pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3).
func (n *Node) inexactPools() string {
	all := n.Topology.CPUs()
	for _, pool := range []struct {
		name string
		cpus cpuset.Set
	}{{"reserved", n.Reserved}, {"shared", n.Shared}} {
		if strange := pool.cpus.Minus(all); !strange.IsEmpty() {
			return fmt.Sprintf("%s CPUs %s are not online", pool.name, strange)
		}
	}
	strict := n.CPUManager.Options.StrictCPUReservation
	if both := n.Reserved.Intersect(n.Shared); strict && !both.IsEmpty() {
		return fmt.Sprintf("reserved CPUs %s are in the shared pool in spite of strict-cpu-reservation", both)
	}
	if missing := n.Reserved.Minus(n.Shared); !strict && !missing.IsEmpty() {
		return fmt.Sprintf("reserved CPUs %s are not in the shared pool", missing)
	}
	return ""
}

func (n *Node) inexactTopologyManager() string {
	tm, nodes := n.TopologyManager, n.Topology.NUMANodes()
	bySocket := n.CPUManager.Options.AlignBySocket
	switch {
	case bySocket && len(n.Topology.Sockets()) > n.numaNodesWithCPUs():
		return "a kubelet with align-by-socket does not start on a machine with more sockets than NUMA nodes"
	case tm.Policy == TopologyNone:
		return ""
	case tm.Unknown != "":
		return "topology manager option " + tm.Unknown + " is not known"
	case len(nodes) > max(tm.MaxAllowableNUMANodes, defaultMaxNUMANodes):
		return fmt.Sprintf("a kubelet with topology manager policy %s does not start on a machine with %d NUMA nodes", tm.Policy, len(nodes))
	case len(nodes) > maxHintNodes:
		return fmt.Sprintf("%d NUMA nodes are more than the %d that are modelled", len(nodes), maxHintNodes)
	case nodes[len(nodes)-1].ID > 63:
		return fmt.Sprintf("NUMA node id %d is above 63, the kubelet's highest", nodes[len(nodes)-1].ID)
	case bySocket && tm.Policy == TopologySingleNUMANode:
		return "a kubelet does not start with both align-by-socket and single-numa-node"
	}
	for i, node := range nodes {
		switch {
		case !tm.PreferClosestNUMANodes:
		case len(node.Distances) != len(nodes):
			return "a kubelet with prefer-closest-numa-nodes does not start where the distances between NUMA nodes are unknown"
		case tm.Policy != TopologySingleNUMANode && node.ID != i:
			return "a kubelet with prefer-closest-numa-nodes fails where the numbers of NUMA nodes have gaps"
		}
	}
	return ""
}

func (n *Node) numaNodesWithCPUs() int {
	count := 0
	for _, node := range n.Topology.NUMANodes() {
		if !node.CPUs.IsEmpty() {
			count++
		}
	}
	return count
}
