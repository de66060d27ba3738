package admission

import (
	"fmt"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// Node is everything that a kubelet's decision about exclusive CPUs depends on. Admit only reads it, so one Node may
// serve many goroutines at once.
type Node struct {
	Topology *cputopology.Topology
	// Minor is the kubelet's version: 36 stands for 1.36.
	Minor           int
	CPUManager      cpumanager.Config
	TopologyManager topologymanager.Config
	// MemoryManager is the memory manager's policy as in the kubelet's configuration; "" is "None".
	MemoryManager string
	// PodLevelResourceManagers is the feature gate of that name, new in 1.36: see podlevel.go. It is off by default
	// in every known kubelet, and a pod with pod-level resources then gets no exclusive CPUs.
	PodLevelResourceManagers bool
	// Reserved are the CPUs kept for the system: never granted.
	Reserved cpuset.Set
	// Shared is the kubelet's shared pool, defaultCpuSet in its cpu_manager_state. It includes the reserved CPUs,
	// unless strict-cpu-reservation is on.
	Shared cpuset.Set
}

// Free are the CPUs that the kubelet can still grant.
func (n *Node) Free() cpuset.Set { return n.Shared.Minus(n.Reserved) }

// Empty is the same node with no CPU granted to anyone.
func (n *Node) Empty() Node {
	empty := *n
	empty.Shared = n.Topology.CPUs()
	if n.CPUManager.Options.StrictCPUReservation {
		empty.Shared = empty.Shared.Minus(n.Reserved)
	}
	return empty
}

// Granting is the same node after grants, for example those of an admitted pod.
func (n *Node) Granting(grants []Grant) Node {
	after := *n
	after.Shared = n.Shared.Minus(granted(grants))
	return after
}

// Releasing is the same node after the pod that holds grants has gone.
func (n *Node) Releasing(grants []Grant) Node {
	after := *n
	after.Shared = n.Shared.Union(granted(grants))
	return after
}

// numaNodes are the NUMA nodes with CPUs.
func (n *Node) numaNodes() topologymanager.Mask {
	var all topologymanager.Mask
	for i := range n.Topology.NUMANodes() {
		if !n.Topology.NUMANodes()[i].CPUs.IsEmpty() {
			all |= 1 << i
		}
	}
	return all
}

// String describes the node in five lines.
func (n *Node) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "machine   %s\n", n.Topology)
	memory := n.MemoryManager
	if memory == "" {
		memory = "None"
	}
	fmt.Fprintf(&b, "kubelet   1.%d, CPU manager %s, topology manager %s, memory manager %s\n",
		n.Minor, n.CPUManager, n.TopologyManager, memory)
	fmt.Fprintf(&b, "reserved  %s\n", listOrNone(n.Reserved))
	fmt.Fprintf(&b, "shared    %s\n", listOrNone(n.Shared))
	fmt.Fprintf(&b, "free     ")
	free := n.Free()
	for _, node := range n.Topology.NUMANodes() {
		on := free.Intersect(node.CPUs)
		fmt.Fprintf(&b, " numa%d %s (%d of %d)", node.ID, listOrNone(on), on.Len(), node.CPUs.Len())
	}
	return b.String()
}

func listOrNone(s cpuset.Set) string {
	if s.IsEmpty() {
		return "none"
	}
	return s.String()
}
