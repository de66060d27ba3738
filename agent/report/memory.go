package report

import (
	"cmp"
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
