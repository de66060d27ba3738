package kubeletcpu

import "corepin.dev/corepin/pkg/cpuset"

// admission is one pod going through the kubelet.
type admission struct {
	node     *Node
	m        machine
	decision Decision
	// containers is how many grants there can be.
	containers int
	// reusable are CPUs of the pod's finished init containers.
	reusable cpuset.Set
	// misaligned is how the topology manager refuses.
	misaligned refusal
	// lost are CPUs that the kubelet does not take back from a refused pod.
	lost cpuset.Set
}

// free are the CPUs that can be granted now.
func (a *admission) free() cpuset.Set { return a.decision.Shared.Minus(a.node.Reserved) }

// Admit is what the kubelet of n will do with the new pod p. It is exact where n.Inexact(*p) is "".
// After a refusal the pod holds nothing: the kubelet takes back what earlier containers got, with one exception
// (podLevel).
func Admit(n *Node, p *Pod) Decision {
	d := admit(n, p)
	if d.Verdict == Refused {
		empty := n.Empty()
		d.Preemptible = admit(&empty, p).Verdict == Admitted
	}
	return d
}

func admit(n *Node, p *Pod) Decision {
	a := admission{node: n, misaligned: n.misaligned(p), decision: Decision{Verdict: Admitted, Shared: n.Shared}}
	if n.CPUManager.Policy != CPUManagerStatic || !n.Exclusive(p) {
		return a.decision
	}
	a.m = newMachine(n.Topology)
	a.containers = len(p.Containers)
	var r refusal
	switch p := n.sees(p); {
	case n.TopologyManager.Policy == TopologyNone:
		r = a.unaligned(p)
	case n.asOne(p):
		r = a.podLevel(p, nil)
	case n.TopologyManager.Scope == ScopePod:
		r = a.podScope(p)
	default:
		r = a.containerScope(p)
	}
	if r.reason == "" {
		return a.decision
	}
	return Decision{Verdict: Refused, Reason: r.reason, Message: r.message, Shared: n.Shared.Union(a.decision.Granted()).Minus(a.lost)}
}

// unaligned grants container by container, with no NUMA node in mind.
func (a *admission) unaligned(p *Pod) refusal {
	return a.each(p, func(c *Container) refusal { return a.grant(c, nil) })
}

// containerScope aligns and grants container by container: each one's grant is missing from what the
// next one sees (pkg/kubelet/cm/topologymanager/scope_container.go, v1.36.3).
func (a *admission) containerScope(p *Pod) refusal {
	return a.each(p, func(c *Container) refusal {
		aligned, r := a.align(c.CPUs)
		if r.reason != "" {
			return r
		}
		return a.grant(c, &aligned)
	})
}

// podScope aligns the pod as a whole, for as many CPUs as it needs at once, and then grants container by
// container (pkg/kubelet/cm/topologymanager/scope_pod.go, v1.36.3).
func (a *admission) podScope(p *Pod) refusal {
	aligned, r := a.align(p.peak())
	if r.reason != "" {
		return r
	}
	return a.each(p, func(c *Container) refusal { return a.grant(c, &aligned) })
}

// each calls f for the containers that ask for exclusive CPUs, up to the first refusal. The others need
// no alignment and are never refused.
func (a *admission) each(p *Pod, f func(c *Container) refusal) refusal {
	for i := range p.Containers {
		if c := &p.Containers[i]; c.CPUs > 0 {
			if r := f(c); r.reason != "" {
				return r
			}
		}
	}
	return refusal{}
}

// align asks the topology manager's policy for NUMA nodes and gives their CPUs.
func (a *admission) align(need int) (cpuset.Set, refusal) {
	var array [8]nodeRoom
	r := a.newRoom(need, array[:0])
	var mask numaMask
	var admitted bool
	switch a.node.TopologyManager.Policy {
	case TopologyBestEffort:
		mask, admitted = bestEffort(&r)
	case TopologyRestricted:
		mask, admitted = restricted(&r)
	default:
		mask, admitted = singleNUMANode(&r)
	}
	if !admitted {
		return cpuset.Set{}, a.misaligned
	}
	if a.node.CPUManager.Options.AlignBySocket {
		return a.socketsWith(r.cpus(mask)), refusal{}
	}
	return r.cpus(mask), refusal{}
}

// socketsWith are the CPUs of the sockets that have one of cpus.
func (a *admission) socketsWith(cpus cpuset.Set) cpuset.Set {
	var wide cpuset.Set
	for _, socket := range a.node.Topology.SocketUnits() {
		if socket.CPUs.Overlaps(cpus) {
			wide = wide.Union(socket.CPUs)
		}
	}
	return wide
}
