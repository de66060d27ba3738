// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// Node is everything that a kubelet's decision about exclusive CPUs, memory and devices depends on. Admit only reads it,
// so one Node may serve many goroutines at once.
type Node struct {
	Topology *cputopology.Topology
	// Minor is the kubelet's version: 36 stands for 1.36.
	Minor           int
	CPUManager      cpumanager.Config
	TopologyManager topologymanager.Config
	// MemoryManager is the memory manager's policy as in the kubelet's configuration; "" is "None".
	MemoryManager string
	// Memory is the state of the memory manager with the policy Static. It is nil where it is not known, and it is ignored
	// under any other policy.
	Memory *memorymanager.State
	// Devices are those of the device plugins. It is nil where they are not known, and empty where there is no plugin.
	Devices *devicemanager.State
	// PodLevelResourceManagers is the feature gate of that name, new in 1.36: see podlevel.go. It is off by default
	// in every known kubelet, and a pod with pod-level resources then gets no exclusive CPUs.
	PodLevelResourceManagers bool
	// Reserved are the CPUs kept for the system: never granted.
	Reserved cpuset.Set
	// Shared is the kubelet's shared pool, defaultCpuSet in its cpu_manager_state. It includes the reserved CPUs,
	// unless strict-cpu-reservation is on.
	Shared cpuset.Set
	// Ending is memory of init containers, by pod. The kubelet gives it back when the next container of the pod starts,
	// which may be at any moment.
	Ending [][]memorymanager.Held
}

// Free are the CPUs that the kubelet can still grant.
func (n *Node) Free() cpuset.Set { return n.Shared.Minus(n.Reserved) }

// Empty is the same node with nothing granted to anyone.
func (n *Node) Empty() Node {
	var empty Node
	n.emptyInto(&empty)
	return empty
}

// emptyInto makes empty the same node with nothing granted to anyone.
func (n *Node) emptyInto(empty *Node) {
	*empty = *n
	empty.Shared = n.Topology.CPUs()
	if n.CPUManager.Options.StrictCPUReservation {
		empty.Shared = empty.Shared.Minus(n.Reserved)
	}
	if n.Memory != nil {
		memory := n.Memory.Empty()
		empty.Memory = &memory
	}
	if n.Devices != nil {
		empty.Devices = n.Devices.Empty()
	}
	empty.Ending = nil
}

// Granting is the same node after grants of CPUs, for example those of an admitted pod. See Admitting for the rest of what
// a pod takes.
func (n *Node) Granting(grants []Grant) Node {
	after := *n
	after.Shared = n.Shared.Minus(granted(grants))
	return after
}

// Releasing is the same node after the pod that holds grants and held has gone.
func (n *Node) Releasing(grants []Grant, held *Held) Node {
	after := *n
	after.Shared = n.Shared.Union(granted(grants))
	if len(held.Memory) > 0 && n.Memory != nil {
		memory := n.Memory.Clone()
		memory.Release(held.Memory)
		after.Memory = &memory
	}
	if len(held.Devices) > 0 && n.Devices != nil {
		after.Devices = n.Devices.Releasing(held.Devices)
	}
	return after
}

// Held is what a pod holds besides exclusive CPUs.
type Held struct {
	// Memory is under the memory manager's policy Static only.
	Memory  []memorymanager.Held
	Devices []devicemanager.Held
}

// IsEmpty reports whether the pod holds nothing.
func (h *Held) IsEmpty() bool { return len(h.Memory) == 0 && len(h.Devices) == 0 }

// Equal reports whether both are the same.
func (h *Held) Equal(other *Held) bool {
	return slices.Equal(h.Memory, other.Memory) && slices.Equal(h.Devices, other.Devices)
}

// numaNodes are the NUMA nodes with CPUs.
func (n *Node) numaNodes() topologymanager.Mask {
	var all topologymanager.Mask
	for i := range n.Topology.NUMANodes() {
		if n.Topology.NUMANodes()[i].Size > 0 {
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
