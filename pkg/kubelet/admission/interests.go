// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"reflect"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
)

// interests says which managers of a node a pod is about. The others give no hint for it, and grant it nothing.
type interests struct {
	cpus, memory, devices bool
	// aligned is set where some of the devices have NUMA nodes.
	aligned bool
}

func (i interests) any() bool { return i.cpus || i.memory || i.devices }

// decisive reports whether more than amounts matter to the pod. kube-scheduler compares amounts of devices, too.
func (i interests) decisive() bool { return i.cpus || i.memory || i.aligned }

// interestsOf are those of p on n, as far as they are modelled.
func (n *Node) interestsOf(p *Pod) interests {
	asks := interests{
		cpus:   n.CPUManager.Policy == cpumanager.PolicyStatic && n.Exclusive(p),
		memory: n.Memory != nil && n.managesMemory(p),
	}
	if n.Devices == nil || n.asOne(p) { // The device manager gives nothing to a pod as a whole.
		return asks
	}
	for i := range p.Containers {
		for k := range p.Containers[i].Devices {
			r := n.Devices.Resource(p.Containers[i].Devices[k].Resource)
			asks.devices = asks.devices || r != nil
			asks.aligned = asks.aligned || r != nil && r.Aligned()
		}
	}
	return asks
}

// Decides reports whether the kubelet of n decides about p by more than amounts: whether it grants p exclusive CPUs, memory
// or devices that have NUMA nodes. Pods for which it does not never change what becomes of others.
func (n *Node) Decides(p *Pod) bool { return n.interestsOf(p).decisive() }

// Besides says what the kubelet of n decides about besides p's exclusive CPUs: memory, and which resources of devices that
// have NUMA nodes.
func (n *Node) Besides(p *Pod) (memory bool, devices []string) {
	asks := n.interestsOf(p)
	for i := 0; i < len(p.Containers) && asks.aligned; i++ {
		for _, request := range p.Containers[i].Devices {
			r := n.Devices.Resource(request.Resource)
			if r != nil && r.Aligned() && !slices.Contains(devices, r.Name) {
				devices = append(devices, r.Name)
			}
		}
	}
	return asks.memory, devices
}

// related reports whether what becomes of one of two pods may depend on the other: they are about CPUs both, or about
// memory, or about the same devices.
func (n *Node) related(p, q *Pod) bool {
	a := n.interestsOf(p)
	b := n.interestsOf(q)
	if a.cpus && b.cpus || a.memory && b.memory {
		return true
	}
	if !a.aligned || !b.aligned {
		return false
	}
	for i := range p.Containers {
		for _, request := range p.Containers[i].Devices {
			r := n.Devices.Resource(request.Resource)
			if r != nil && r.Aligned() && q.mentions(r.Name) {
				return true
			}
		}
	}
	return false
}

// mentions reports whether a container asks for a resource, be it for none of it.
func (p *Pod) mentions(resource string) bool {
	for i := range p.Containers {
		for k := range p.Containers[i].Devices {
			if p.Containers[i].Devices[k].Resource == resource {
				return true
			}
		}
	}
	return false
}

// managesMemory reports whether the memory manager of n serves p: every container of a Guaranteed pod, but not pods with
// pod-level resources (Allocate in pkg/kubelet/cm/memorymanager/policy_static.go, v1.36.3). Under the gate
// PodLevelResourceManagers it serves those, too: Inexact.
func (n *Node) managesMemory(p *Pod) bool {
	return n.MemoryManager == memorymanager.PolicyStatic && p.Guaranteed && !p.PodLevelResources
}

// CoversBesides reports whether held is all that p asks for besides CPUs: memory for each container that lasts, and the
// devices that have NUMA nodes.
func (n *Node) CoversBesides(p *Pod, held *Held) bool {
	asks := n.interestsOf(p)
	for i := range p.Containers {
		c := &p.Containers[i]
		if asks.memory && c.Kind != Init && len(memoryOf(held.Memory, c.Name)) < len(c.Memory) {
			return false
		}
		for k := 0; k < len(c.Devices) && asks.aligned; k++ {
			r := n.Devices.Resource(c.Devices[k].Resource)
			if r != nil && r.Aligned() && held.devices(c.Name, r.Name) < c.Devices[k].Count {
				return false
			}
		}
	}
	return true
}

// devices is how many devices of a resource a container holds.
func (h *Held) devices(container, resource string) int {
	count := 0
	for i := range h.Devices {
		if h.Devices[i].Container == container && h.Devices[i].Resource == resource {
			count += h.Devices[i].Devices
		}
	}
	return count
}

// contents is what changes on a node as pods come and go.
type contents struct {
	shared  cpuset.Set
	memory  *memorymanager.State
	devices *devicemanager.State
}

// equal reports whether a kubelet cannot tell the two apart.
func (c *contents) equal(other *contents) bool {
	return c.shared == other.shared && reflect.DeepEqual(c.memory, other.memory) && reflect.DeepEqual(c.devices, other.devices)
}

func (n *Node) contents() contents { return contents{n.Shared, n.Memory, n.Devices} }

// with is the node with other contents.
func (n *Node) with(c *contents) Node {
	node := *n
	node.Shared = c.shared
	node.Memory = c.memory
	node.Devices = c.devices
	return node
}
