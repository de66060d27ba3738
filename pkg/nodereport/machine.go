// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

// Machine is what a report says that the Node object says too. A zero field is not known.
type Machine struct {
	KubeletVersion string
	// BootID changes whenever the machine boots.
	BootID string
	// CPUs are online, and Reserved of them are reserved.
	CPUs, Reserved int
	// Memory is in bytes.
	Memory int64
}

// MachineOf reads it from a report. Lists that do not parse count as empty.
func MachineOf(s *v1alpha1.NodeCPUStatus) Machine {
	var online cpuset.Set
	for i := range s.Cores {
		online = online.Union(lenient(s.Cores[i].CPUs))
	}
	m := Machine{KubeletVersion: s.KubeletVersion, BootID: s.BootID, CPUs: online.Len(), Reserved: lenient(s.ReservedCPUs).Len()}
	for i := range s.MemoryManager.NUMANodes {
		for _, resource := range s.MemoryManager.NUMANodes[i].Resources {
			if resource.Type == string(corev1.ResourceMemory) {
				m.Memory += resource.Total
			}
		}
	}
	return m
}

// Contradiction says in what the Node and the report differ, in a clause; "" where they do not, or that is not known. Then one
// of them is old. It is the report where its agent does not run, or has not come around to it yet: it writes again when it
// sees the Node change.
func (r *Report) Contradiction(node *corev1.Node) string {
	info := &node.Status.NodeInfo
	m := &r.Machine
	differ := func(what, report, node string) string {
		if report == "" || node == "" || report == node {
			return ""
		}
		return fmt.Sprintf("the Node says %s %s, and the report %s", what, node, report)
	}
	if why := differ("kubelet version", m.KubeletVersion, info.KubeletVersion); why != "" {
		return why
	}
	if why := differ("boot ID", m.BootID, info.BootID); why != "" {
		return why
	}
	if why := m.otherCPUs(node); why != "" {
		return why
	}
	return m.otherMemory(node)
}

// otherCPUs compares CPUs. A Node whose capacity leaves out the reserved ones, as a Node written by hand may, is not
// contradicted.
func (m *Machine) otherCPUs(node *corev1.Node) string {
	capacity, stated := node.Status.Capacity[corev1.ResourceCPU]
	cpus := int(capacity.Value())
	if !stated || m.CPUs == 0 || cpus <= m.CPUs && cpus >= m.CPUs-m.Reserved {
		return ""
	}
	return fmt.Sprintf("the Node says %d CPUs, and the report %d", cpus, m.CPUs)
}

// otherMemory compares memory. The kernel gives the sum of the NUMA nodes and the whole in two files, so a difference of
// one part in 64 is none.
func (m *Machine) otherMemory(node *corev1.Node) string {
	capacity, stated := node.Status.Capacity[corev1.ResourceMemory]
	has := capacity.Value()
	if !stated || m.Memory == 0 || max(has, m.Memory)-min(has, m.Memory) <= max(has, m.Memory)/64 {
		return ""
	}
	return fmt.Sprintf("the Node says %d bytes of memory, and the report %d", has, m.Memory)
}
