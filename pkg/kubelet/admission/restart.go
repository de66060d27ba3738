package admission

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// This file is what a kubelet does when it starts again on a node with pods. It reads its state back, and it admits the
// pods a second time, the oldest first, each with the CPUs that it holds. Both can go wrong.

// Restarts is "" where the kubelet of n starts again while grants are held, or the kubelet's error (validateState in
// pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3; the same in v1.37.2). Inexact says what the machine itself
// rules out.
func (n *Node) Restarts(grants []Grant) string {
	all := n.Empty().Shared
	known := n.Shared.Union(granted(grants))
	switch {
	case n.CPUManager.Policy != cpumanager.PolicyStatic || n.Shared.IsEmpty() && len(grants) == 0:
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

// Readmit is what a kubelet that has started again does with a pod that was there before. p holds held, an entry for
// each of its containers with exclusive CPUs. Admitted, it keeps them. Refused, it fails although it runs. Up to 1.36
// that happens with full-pcpus-only wherever the node has fewer free CPUs than a container holds. The check comes
// before the kubelet looks at what the container has (Allocate in pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3).
func Readmit(n *Node, p *Pod, held []Grant) Decision {
	p = n.seesAgain(p)
	if n.CPUManager.Policy != cpumanager.PolicyStatic || !n.Exclusive(p) {
		return Decision{Verdict: Admitted, Grants: held, Shared: n.Shared}
	}
	a := newAttempt(n, p)
	defer a.end()
	a.grants = held
	return a.decision(a.again(n.sees(p), held))
}

// seesAgain is p as the kubelet of n sees it when it has started again. Kubelet 1.34 reads the status: see allocatedOf.
func (n *Node) seesAgain(p *Pod) *Pod {
	if n.Minor != 34 || p.Allocated == nil {
		return p
	}
	seen := *p
	seen.Containers = slices.Clone(p.Containers)
	for i := range seen.Containers {
		seen.Containers[i].CPUs = p.Allocated[i]
	}
	return &seen
}

// allocatedOf are the CPUs that kubelet 1.34 takes for those of each container when it starts again. For an app
// container or a sidecar with a status it reads status.allocatedResources, which a waiting container does not have
// (guaranteedCPUs in pkg/kubelet/cm/cpumanager/policy_static.go, v1.34.4; 1.35 and later read the spec). It returns
// nil where that changes nothing.
func allocatedOf(pod *corev1.Pod, containers []Container) []int {
	var allocated []int
	for i, c := range containers {
		statuses := pod.Status.ContainerStatuses
		if c.Kind == Init {
			continue
		} else if c.Kind == Sidecar {
			statuses = pod.Status.InitContainerStatuses
		}
		at := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == c.Name })
		if at < 0 {
			continue
		}
		cpus := wholeCPUs(statuses[at].AllocatedResources)
		if cpus == c.CPUs {
			continue
		}
		if allocated == nil {
			allocated = make([]int, len(containers))
			for k := range containers {
				allocated[k] = containers[k].CPUs
			}
		}
		allocated[i] = cpus
	}
	return allocated
}

func (a *attempt) again(p *Pod, held []Grant) error {
	if a.node.asOne(p) {
		return a.podLevel(p, held)
	}
	aligned := a.node.TopologyManager.Policy != topologymanager.PolicyNone
	asPod := aligned && a.node.TopologyManager.Scope == topologymanager.ScopePod
	if asPod {
		if _, err := a.stillAligned(p.PeakCPUs(), granted(held), allAsked(p, held)); err != nil {
			return err
		}
	}
	return a.each(p, func(c *Container) error {
		if aligned && !asPod {
			cpus := heldBy(c, held)
			if _, err := a.stillAligned(c.CPUs, cpus, cpus.Len() == c.CPUs); err != nil {
				return err
			}
		}
		if a.node.Minor < 37 {
			return a.cpus.CheckSMT(c.CPUs)
		}
		return nil
	})
}

// stillAligned asks the topology manager's policy once more. Hints must include all NUMA nodes of what is held. A
// container that holds another number of CPUs than it asks for (asked is false) has no hint.
func (a *attempt) stillAligned(need int, held cpuset.Set, asked bool) (topologymanager.Mask, error) {
	switch {
	case asked:
	case a.node.TopologyManager.Policy == topologymanager.PolicyBestEffort:
		return a.node.numaNodes(), nil
	default:
		return 0, a.misaligned
	}
	a.cpus.Reusable = held
	affinity, err := a.align(need)
	a.cpus.Reusable = cpuset.Set{}
	return affinity, err
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
		if heldBy(c, held).Len() != c.CPUs {
			return false
		}
	}
	return true
}
