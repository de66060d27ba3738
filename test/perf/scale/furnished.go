// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// What a furnished node has on each of its NUMA nodes, as nodeTemplate says of both together.
const (
	vf            = "intel.com/vf"
	hugePages     = "hugepages-1Gi"
	totalBytes    = 256 << 30
	reservedBytes = 6 << 30
	hugeBytes     = 64 << 30
	vfs           = 32
)

// furnish gives the node a memory manager, huge pages and VFs.
func (n *reportedNode) furnish() {
	n.MemoryManager = memorymanager.PolicyStatic
	const rest = totalBytes - reservedBytes - hugeBytes
	ordinary := memorymanager.Amount{Total: totalBytes, SystemReserved: reservedBytes, Allocatable: rest, Free: rest}
	huge := memorymanager.Amount{Total: hugeBytes, Allocatable: hugeBytes, Free: hugeBytes}
	n.Memory = &memorymanager.State{Types: []string{hugePages, "memory"}}
	cards := devicemanager.Resource{Name: vf}
	for i := range n.Topology.NUMANodes() {
		n.Memory.NUMANodes = append(n.Memory.NUMANodes, memorymanager.NUMANode{
			Group: 1 << i, Memory: []memorymanager.Amount{huge, ordinary},
		})
		cards.Groups = append(cards.Groups, devicemanager.Group{NUMANodes: 1 << i, Devices: vfs, Healthy: vfs, Free: vfs})
	}
	n.Devices = &devicemanager.State{Resources: []devicemanager.Resource{cards}}
}

// numaNodes are the ids of a set of NUMA nodes.
func (n *reportedNode) numaNodes(mask topologymanager.Mask) (ids []int32) {
	for ; mask != 0; mask = mask.Rest() {
		ids = append(ids, int32(n.Topology.NUMANodes()[mask.First()].ID))
	}
	return ids
}

// memoryReport is what an agent would write of the memory manager.
func (n *reportedNode) memoryReport() v1alpha1.MemoryManager {
	m := v1alpha1.MemoryManager{Policy: n.MemoryManager}
	for i, node := range n.Memory.NUMANodes {
		reported := v1alpha1.NUMAMemory{
			ID: int32(n.Topology.NUMANodes()[i].ID), Assignments: int32(node.Assignments), Group: n.numaNodes(node.Group),
		}
		for at, a := range node.Memory {
			reported.Resources = append(reported.Resources, v1alpha1.MemoryResource{
				Type: n.Memory.Types[at], Total: int64(a.Total), SystemReserved: int64(a.SystemReserved),
				Allocatable: int64(a.Allocatable), Reserved: int64(a.Reserved), Free: int64(a.Free),
			})
		}
		m.NUMANodes = append(m.NUMANodes, reported)
	}
	for uid, held := range n.held {
		pod := v1alpha1.PodMemory{PodUID: uid}
		for _, h := range held.Memory {
			at := slices.IndexFunc(pod.Containers, func(c v1alpha1.ContainerMemory) bool { return c.Name == h.Container })
			if at < 0 {
				pod.Containers = append(pod.Containers, v1alpha1.ContainerMemory{Name: h.Container})
				at = len(pod.Containers) - 1
			}
			pod.Containers[at].Blocks = append(pod.Containers[at].Blocks,
				v1alpha1.MemoryBlock{Type: h.Type, NUMANodes: n.numaNodes(h.NUMANodes), Size: int64(h.Bytes)})
		}
		m.Granted = append(m.Granted, pod)
	}
	return m
}

// alike are the containers that hold the same; the report has one entry for them.
type alike struct {
	container, numaNodes string
	devices              int
}

// deviceReport is what an agent would write of the devices.
func (n *reportedNode) deviceReport() (all []v1alpha1.DeviceResource) {
	text := func(mask topologymanager.Mask) string {
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(n.numaNodes(mask)), " ", ","), "[]")
	}
	for _, r := range n.Devices.Resources {
		reported := v1alpha1.DeviceResource{Name: r.Name}
		for _, g := range r.Groups {
			reported.Groups = append(reported.Groups, v1alpha1.DeviceGroup{
				NUMANodes: text(g.NUMANodes), Devices: int32(g.Devices), Healthy: int32(g.Healthy), Free: int32(g.Free),
			})
		}
		holders := map[alike][]types.UID{}
		for uid, held := range n.held {
			for _, h := range held.Devices {
				key := alike{h.Container, text(h.NUMANodes), h.Devices}
				holders[key] = append(holders[key], uid)
			}
		}
		for key, uids := range holders {
			reported.Held = append(reported.Held, v1alpha1.HeldDevices{
				Container: key.container, NUMANodes: key.numaNodes, Devices: int32(key.devices), PodUIDs: uids,
			})
		}
		all = append(all, reported)
	}
	return all
}
