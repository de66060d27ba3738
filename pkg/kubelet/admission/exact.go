// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// Inexact is "" where Admit of p is what the kubelet will do. Otherwise it says why that cannot be promised, for a
// person to read, and a prediction must not be taken for a fit. Unknown to this package are options and kubelets newer
// than it, and what the report does not tell: memory or devices. Neither does it predict nodes whose kubelet would not have
// started with what is reported of them.
func (n *Node) Inexact(p Pod) string {
	if n.Topology == nil || n.Topology.CPUs().IsEmpty() {
		return "the node's CPU topology is not known"
	}
	if n.Minor < oldestMinor || n.Minor > newestMinor {
		return fmt.Sprintf("the rules of kubelet 1.%d are not known, only those of 1.%d to 1.%d", n.Minor, oldestMinor, newestMinor)
	}
	why := n.inexactMemory(&p)
	if why == "" {
		why = n.inexactDevices(&p)
	}
	if why != "" {
		return why
	}
	asks := n.interestsOf(&p)
	if asks.cpus && n.CPUManager.Options.Unknown != "" {
		return "CPU manager option " + n.CPUManager.Options.Unknown + " is not known"
	}
	if asks.cpus {
		why = n.inexactPools()
	}
	if why == "" && asks.decisive() {
		why = n.inexactTopologyManager(asks)
	}
	if why == "" && asks.decisive() {
		why = n.tooLong(&p)
	}
	if why == "" && (asks.memory || asks.aligned) {
		why = n.endless(&p)
	}
	return why
}

// inexactMemory is Inexact of the memory manager.
func (n *Node) inexactMemory(p *Pod) string {
	policy := n.MemoryManager
	if policy == "" || policy == memorymanager.PolicyNone || !p.Guaranteed {
		return ""
	}
	switch {
	case policy != memorymanager.PolicyStatic:
		return fmt.Sprintf("memory manager policy %s is not modelled", policy)
	case p.PodLevelResources && n.PodLevelResourceManagers:
		return "pod-level resources under memory manager policy Static are not modelled"
	case p.PodLevelResources:
		return ""
	case n.Memory == nil:
		return "the state of the memory manager is not known"
	case p.OddMemory != "":
		return fmt.Sprintf("the memory request of container %s is no whole number of bytes", p.OddMemory)
	case len(n.Memory.NUMANodes) > topologymanager.MaxHintNodes:
		return fmt.Sprintf("%d NUMA nodes under memory manager policy Static are more than the %d that are modelled",
			len(n.Memory.NUMANodes), topologymanager.MaxHintNodes)
	}
	return ""
}

// inexactDevices is Inexact of the device manager.
func (n *Node) inexactDevices(p *Pod) string {
	if n.Devices == nil {
		device := p.unknownDevice()
		if device != "" && n.TopologyManager.Policy != topologymanager.PolicyNone {
			return fmt.Sprintf("the NUMA nodes of device %s are not known", device)
		}
		return ""
	}
	for i := range p.Containers {
		for _, request := range p.Containers[i].Devices {
			r := n.Devices.Resource(request.Resource)
			switch {
			case r == nil:
			case r.Unknown != "":
				return fmt.Sprintf("device %s: %s", r.Name, r.Unknown)
			case request.DRA:
				return fmt.Sprintf("device %s is served by both a device plugin and dynamic resource allocation", r.Name)
			case n.asOne(p) && r.Aligned():
				return fmt.Sprintf("device %s of a pod with pod-level resources is not modelled", r.Name)
			}
		}
	}
	return ""
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

func (n *Node) inexactTopologyManager(asks interests) string {
	if n.CPUManager.Options.AlignBySocket && len(n.Topology.Sockets()) > n.numaNodes().Len() {
		return "a kubelet with align-by-socket does not start on a machine with more sockets than NUMA nodes"
	}
	why := n.TopologyManager.Inexact(n.Topology)
	policy := n.TopologyManager.Policy
	gaps := policy != topologymanager.PolicyNone && n.TopologyManager.PreferClosestNUMANodes && topologymanager.Gaps(n.Topology) != 0
	switch {
	case why != "":
		return why
	case gaps && (asks.memory || asks.aligned):
		return "a kubelet with prefer-closest-numa-nodes may panic over memory and devices where the numbers of NUMA nodes have gaps"
	case !n.CPUManager.Options.AlignBySocket:
		return ""
	case policy == topologymanager.PolicySingleNUMANode:
		return "a kubelet does not start with both align-by-socket and single-numa-node"
	case gaps:
		return "a kubelet with prefer-closest-numa-nodes and align-by-socket may panic where the numbers of NUMA nodes have gaps"
	}
	return ""
}
