// SPDX-License-Identifier: Apache-2.0

package scoring

import (
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// PlacementOf is the placement of a demand on a node that decided to admit it. The node is without the pod, and unrequested is
// its allocatable CPU that no pod requests, in millicores.
func PlacementOf(d *verdict.Demand, node *admission.Node, decision *admission.Decision, unrequested int64) *Placement {
	placement := &Placement{
		Node:                node,
		FreeAfter:           decision.Shared.Minus(node.Reserved),
		UnrequestedMilliCPU: unrequested,
		ExclusiveCPUs:       d.Pod.PeakCPUs(),
		SharedMilliCPU:      d.Shared(),
	}
	if node.Memory != nil || node.Devices != nil {
		_, after := node.Admitting(&d.Pod)
		placement.After = &after
		placement.MemoryPerCPU = memoryPerCPU(&d.Pod)
	}
	return placement
}

// memoryPerCPU is what a pod asks for of each type of memory, divided by its exclusive CPUs.
func memoryPerCPU(pod *admission.Pod) map[string]uint64 {
	sums := map[string]uint64{}
	for i := range pod.Containers {
		for _, q := range pod.Containers[i].Memory {
			sums[q.Type] += q.Bytes
		}
	}
	for name := range sums {
		sums[name] /= uint64(max(1, pod.PeakCPUs()))
	}
	return sums
}

// Unpredicted is the rating of a node that is not predicted exactly: whoever is heard from comes first.
func Unpredicted(v *verdict.Verdict) int64 {
	switch v.State {
	case nodereport.Exact, nodereport.Inexact, nodereport.Newer, nodereport.Unreadable:
		if v.Fits() {
			return Estimated
		}
	}
	return Unrated
}
