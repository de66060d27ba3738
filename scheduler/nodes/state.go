// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"hash/maphash"
	"slices"

	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// State is a hash of all that a verdict about a dedicated VM and its rating depend on. It is 0 for a node on which a pod is in flight or
// from which one has left, and for one that is not exact. passing reports that the next report will change that: pods are on their
// way. Not in the hash is what a kubelet would lose at its next start, and which huge pages are free in the kernel. Two nodes of
// the same state may differ by an accident of the hash, which is good enough to propose nodes.
func (v *View) State(nodeInfo fwk.NodeInfo) (hash uint64, passing bool) {
	n := v.node(nodeInfo.Node().Name)
	if n == nil {
		return 0, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.exact() {
		return 0, false
	}
	if !n.holds(nodeInfo.GetGeneration()) {
		n.apply(nodeInfo)
	}
	applied := &n.applied
	inFlight := slices.ContainsFunc(applied.Pods, func(p verdict.Pod) bool { return p.InFlight })
	if inFlight || applied.State != nodereport.Exact || len(applied.Gone) > 0 || applied.Kubelet.Ending != nil || !n.until.IsZero() {
		return 0, inFlight // otherwise it is the node as reported
	}
	return n.settled(applied), false
}

// settled is the hash for the node as its NodeInfo has it.
func (n *node) settled(applied *verdict.Node) uint64 {
	if n.fingerprint == 0 {
		n.fingerprint = fingerprint(n.report.Node)
	}
	return maphash.Comparable(seed, settledState{n.fingerprint, applied.Labelled, applied.Amounts.Allocatable - applied.Amounts.Requested})
}

type settledState struct {
	fingerprint uint64
	labelled    bool
	unrequested int64 // millicores
}

var seed = maphash.MakeSeed()

// kubeletState is what a kubelet decides by, without lists. Equal machines are one Topology (machines.go).
type kubeletState struct {
	topology        *cputopology.Topology
	minor           int
	cpuManager      cpumanager.Config
	topologyManager topologymanager.Config
	memoryManager   string
	podLevel        bool
	reserved        cpuset.Set
	shared          cpuset.Set
	memory, devices bool // are known
}

// fingerprint is a hash of a kubelet's state.
func fingerprint(n *admission.Node) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	maphash.WriteComparable(&h, kubeletState{
		n.Topology, n.Minor, n.CPUManager, n.TopologyManager, n.MemoryManager, n.PodLevelResourceManagers, n.Reserved, n.Shared,
		n.Memory != nil, n.Devices != nil,
	})
	if n.Memory != nil {
		addMemory(&h, n.Memory)
	}
	if n.Devices != nil {
		addDevices(&h, n.Devices)
	}
	return h.Sum64()
}

func addMemory(h *maphash.Hash, s *memorymanager.State) {
	maphash.WriteComparable(h, s.Torn)
	for _, name := range s.Types {
		maphash.WriteComparable(h, name)
	}
	for i := range s.NUMANodes {
		maphash.WriteComparable(h, s.NUMANodes[i].Assignments)
		maphash.WriteComparable(h, s.NUMANodes[i].Group)
		for _, amount := range s.NUMANodes[i].Memory {
			maphash.WriteComparable(h, amount)
		}
	}
}

func addDevices(h *maphash.Hash, s *devicemanager.State) {
	for i := range s.Resources {
		r := &s.Resources[i]
		maphash.WriteComparable(h, r.Name)
		maphash.WriteComparable(h, r.Unknown)
		maphash.WriteComparable(h, r.Unsure)
		for _, group := range r.Groups {
			maphash.WriteComparable(h, group)
		}
	}
}
