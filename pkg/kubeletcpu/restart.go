package kubeletcpu

import (
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
)

// This file is what a kubelet does that starts again on a node with pods. It reads its state back, and it
// admits the pods a second time, the oldest first, each with the CPUs that it holds. Both can go wrong.

// Restarts is "" where the kubelet of n starts again, while grants are held, and else the kubelet's error
// (validateState in pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3; the same in v1.37.2). What the
// machine itself rules out is for Inexact to tell.
func (n *Node) Restarts(grants []Grant) string {
	all := n.Empty().Shared
	known := n.Shared.Union(granted(grants))
	switch {
	case n.CPUManager.Policy != CPUManagerStatic || n.Shared.IsEmpty() && len(grants) == 0:
		return ""
	case n.Shared.IsEmpty():
		return "default cpuset cannot be empty"
	case n.CPUManager.Options.StrictCPUReservation && n.Reserved.Overlaps(n.Shared):
		return fmt.Sprintf("some of strictly reserved cpus: %q are present in defaultCpuSet: %q", n.Reserved.Intersect(n.Shared), n.Shared)
	case !n.CPUManager.Options.StrictCPUReservation && !n.Reserved.SubsetOf(n.Shared):
		return fmt.Sprintf("not all reserved cpus: %q are present in defaultCpuSet: %q", n.Reserved, n.Shared)
	}
	for _, grant := range grants {
		if grant.CPUs.Overlaps(n.Shared) {
			return fmt.Sprintf("container: %s cpuset: %q overlaps with default cpuset %q", grant.Container, grant.CPUs, n.Shared)
		}
	}
	if known != all {
		return fmt.Sprintf("current set of available CPUs %q doesn't match with CPUs in state %q", all, known)
	}
	return ""
}

// Readmit is what a kubelet that has started again does with a pod that was there before: p holds held,
// an entry for each of its containers with exclusive CPUs. Admitted, it keeps them. Refused, it is failed
// although it runs: up to 1.36 that happens with full-pcpus-only wherever the node has fewer free CPUs than
// a container holds, since the check comes before the look at what it has (Allocate in
// pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3).
func Readmit(n *Node, p *Pod, held []Grant) Decision {
	a := admission{node: n, misaligned: n.misaligned(p), decision: Decision{Verdict: Admitted, Grants: held, Shared: n.Shared}}
	if n.CPUManager.Policy != CPUManagerStatic || !n.Exclusive(p) {
		return a.decision
	}
	a.m = newMachine(n.Topology)
	if r := a.again(n.sees(p), held); r.reason != "" {
		return Decision{Verdict: Refused, Reason: r.reason, Message: r.message, Shared: n.Shared.Union(a.decision.Granted())}
	}
	return a.decision
}

func (a *admission) again(p *Pod, held []Grant) refusal {
	if a.node.asOne(p) {
		return a.podLevel(p, held)
	}
	aligned := a.node.TopologyManager.Policy != TopologyNone
	asPod := aligned && a.node.TopologyManager.Scope == ScopePod
	if asPod {
		if _, r := a.stillAligned(p.peak(), a.decision.Granted(), allAsked(p, held)); r.reason != "" {
			return r
		}
	}
	return a.each(p, func(c *Container) refusal {
		if aligned && !asPod {
			cpus := heldBy(c, held)
			if _, r := a.stillAligned(c.CPUs, cpus, cpus.Len() == c.CPUs); r.reason != "" {
				return r
			}
		}
		if a.node.Minor < 37 {
			return a.wholeCoresOnly(c.CPUs)
		}
		return refusal{}
	})
}

// stillAligned asks the topology manager's policy once more. Hints must have all the NUMA nodes of what is
// held. A container that holds another number of CPUs than it asks for (asked is false) has no hint.
func (a *admission) stillAligned(need int, held cpuset.Set, asked bool) (cpuset.Set, refusal) {
	switch {
	case asked:
	case a.node.TopologyManager.Policy == TopologyBestEffort:
		return a.node.Topology.CPUs(), refusal{}
	default:
		return cpuset.Set{}, a.misaligned
	}
	again := *a
	again.reusable = held
	return again.align(need)
}

func heldBy(c *Container, held []Grant) cpuset.Set {
	for i := range held {
		if held[i].Container == c.Name {
			return held[i].CPUs
		}
	}
	return cpuset.Set{}
}

func allAsked(p *Pod, held []Grant) bool {
	for i := range p.Containers {
		c := &p.Containers[i]
		if cpus := heldBy(c, held); c.CPUs > 0 && cpus.Len() != c.CPUs {
			return false
		}
	}
	return true
}
