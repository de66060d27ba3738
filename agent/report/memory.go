// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// setMemory writes the contents of memory_manager_state into a report, each list in the order of its keys.
func setMemory(m *v1alpha1.MemoryManager, memory kubelet.Memory) {
	m.NUMANodes = nil
	m.Granted = nil
	for _, id := range slices.Sorted(maps.Keys(memory.NUMANodes)) {
		node := memory.NUMANodes[id]
		reported := v1alpha1.NUMAMemory{ID: id, Assignments: node.Assignments, Group: node.Group}
		for _, kind := range slices.Sorted(maps.Keys(node.Resources)) {
			r := node.Resources[kind]
			reported.Resources = append(reported.Resources, v1alpha1.MemoryResource{
				Type: kind, Total: r.Total, SystemReserved: r.SystemReserved, Allocatable: r.Allocatable, Reserved: r.Reserved, Free: r.Free,
			})
		}
		m.NUMANodes = append(m.NUMANodes, reported)
	}
	for _, uid := range slices.Sorted(maps.Keys(memory.Granted)) {
		pod := v1alpha1.PodMemory{PodUID: uid}
		for _, name := range slices.Sorted(maps.Keys(memory.Granted[uid])) {
			container := v1alpha1.ContainerMemory{Name: name}
			for _, block := range memory.Granted[uid][name] {
				container.Blocks = append(container.Blocks, v1alpha1.MemoryBlock{Type: block.Type, NUMANodes: block.NUMANodes, Size: block.Size})
			}
			pod.Containers = append(pod.Containers, container)
		}
		m.Granted = append(m.Granted, pod)
	}
}

// memoryUnknown says why the memory manager's assignments are not known; "" where they are, or where there are none.
func memoryUnknown(r *Resolved, last string) string {
	if r.Origin == kubelet.Nowhere {
		return last
	}
	memory := r.Kubelet.Memory
	switch {
	case r.Config.MemoryManagerPolicy != memoryStatic:
		return ""
	case !readable(memory):
		return shortText(failing("memory_manager_state", memory, last))
	case memory.Value.Policy != memoryStatic:
		return fmt.Sprintf("the kubelet's configuration says memory manager policy Static, but memory_manager_state says %.40s; restart the kubelet as the Kubernetes documentation says for a change of the policy", memory.Value.Policy)
	case memory.Value.PodLevel:
		return "memory_manager_state has memory of whole pods, which is not modelled"
	}
	return ""
}

// memoryConsequence is what follows where memory_manager_state cannot be read.
func memoryConsequence(r *Resolved) string {
	if r.Config.MemoryManagerPolicy == memoryStatic {
		return "Guaranteed pods are not predicted exactly"
	}
	return "no prediction depends on it under policy None"
}

func normalizeMemory(m *v1alpha1.MemoryManager) {
	slices.SortFunc(m.NUMANodes, func(a, b v1alpha1.NUMAMemory) int { return cmp.Compare(a.ID, b.ID) })
	for _, node := range m.NUMANodes {
		slices.SortFunc(node.Resources, func(a, b v1alpha1.MemoryResource) int { return cmp.Compare(a.Type, b.Type) })
	}
	slices.SortFunc(m.Granted, func(a, b v1alpha1.PodMemory) int { return cmp.Compare(a.PodUID, b.PodUID) })
	for _, pod := range m.Granted {
		slices.SortFunc(pod.Containers, func(a, b v1alpha1.ContainerMemory) int { return cmp.Compare(a.Name, b.Name) })
	}
}
