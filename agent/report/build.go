// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/nodereport"
)

// Build gives the report of the facts over the last report. What is not known stays as it was. The
// generation is the last one's.
func Build(f Facts, last v1alpha1.NodeCPUStatus, now time.Time) v1alpha1.NodeCPUStatus {
	r := resolve(f, &last)
	s := build(r, &last)
	setConditions(&s, r, metav1.NewTime(now).Rfc3339Copy())
	return s
}

// build writes everything but the conditions.
func build(r *Resolved, last *v1alpha1.NodeCPUStatus) v1alpha1.NodeCPUStatus {
	s := *last.DeepCopy()
	s.Agent = r.Agent
	s.Conditions = withoutSeen(s.Conditions)
	s.KubeletVersion = r.KubeletVersion
	if r.Host.Known && r.Kubelet.Checkpoint.Known {
		s.BootID = r.BootID // both were read in this boot, since the agent has not lived longer
	}
	s.CPUManager = r.CPUManager
	if r.Host.Known {
		nodereport.SetTopology(&s, r.Host.Value)
	}
	if r.Origin != kubelet.Nowhere {
		s.TopologyManager = topologyManagerOf(r.Config)
		s.MemoryManager.Policy = r.Config.MemoryManagerPolicy
	}
	if r.PodLevelResourceManagers != nil {
		s.PodLevelResourceManagers = *r.PodLevelResourceManagers
	}
	checkpoint := r.Kubelet.Checkpoint
	if checkpoint.Known {
		s.SharedCPUs = checkpoint.Value.Shared.String()
		nodereport.SetGranted(&s, checkpoint.Value.Granted)
	}
	setPins(&s, r.Pins, last)
	for i := range s.Granted {
		s.Granted[i].Waits = r.Waits[s.Granted[i].PodUID]
		s.Granted[i].SharedWith = r.SharedWith[s.Granted[i].PodUID]
	}
	if r.Kubelet.Memory.Known {
		setMemory(&s.MemoryManager, r.Kubelet.Memory.Value)
	}
	s.MemoryManager.Unknown = memoryUnknown(r, last.MemoryManager.Unknown)
	if r.Reserved != nil {
		s.ReservedCPUs = r.Reserved.String()
	}
	setHugePages(&s, r, last)
	if r.Tuning != nil {
		s.HostTuning = r.Tuning
	}
	setDevices(&s, r, last)
	s.Format = nodereport.Format(&s)
	nodereport.Summarize(&s)
	return s
}

// withoutSeen leaves out the condition that is corepin-scheduler's. An agent that applied it would become its owner too.
func withoutSeen(conditions []metav1.Condition) []metav1.Condition {
	return slices.DeleteFunc(conditions, func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionSeen })
}

func topologyManagerOf(config kubelet.Config) v1alpha1.TopologyManager {
	return v1alpha1.TopologyManager{
		Policy: config.TopologyManagerPolicy, Scope: config.TopologyManagerScope, Options: config.TopologyManagerOptions,
	}
}

// setPins writes the guests' pins beside the grants of their pods. Before anything is known of the guests, as
// after a start of the agent, the last report's pins stay.
func setPins(s *v1alpha1.NodeCPUStatus, pins map[types.UID]string, last *v1alpha1.NodeCPUStatus) {
	if pins == nil {
		pins = map[types.UID]string{}
		for _, grant := range last.Granted {
			pins[grant.PodUID] = grant.Pins
		}
	}
	for i := range s.Granted {
		s.Granted[i].Pins = pins[s.Granted[i].PodUID]
	}
}

// sameMeaning reports whether two reports say the same, whatever their generation and the order of their lists.
func sameMeaning(a, b v1alpha1.NodeCPUStatus) bool {
	return equality.Semantic.DeepEqual(normalized(a), normalized(b))
}

func normalized(s v1alpha1.NodeCPUStatus) *v1alpha1.NodeCPUStatus {
	n := s.DeepCopy()
	n.Generation = 0
	n.Conditions = withoutSeen(n.Conditions)
	slices.SortFunc(n.NUMANodes, func(a, b v1alpha1.NUMANode) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(n.Cores, func(a, b v1alpha1.Core) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(n.Granted, func(a, b v1alpha1.PodGrant) int { return cmp.Compare(a.PodUID, b.PodUID) })
	for _, pod := range n.Granted {
		slices.SortFunc(pod.Containers, func(a, b v1alpha1.ContainerGrant) int { return cmp.Compare(a.Name, b.Name) })
	}
	normalizeMemory(&n.MemoryManager)
	slices.SortFunc(n.Conditions, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	for i := range n.Conditions {
		n.Conditions[i].ObservedGeneration = 0
	}
	return n
}
