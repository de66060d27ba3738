package admission

import (
	"sync"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// attempt is one pod going through the kubelet.
type attempt struct {
	node   *Node
	cpus   cpumanager.Static
	grants []Grant
	// providers are the managers that have hints.
	providers [1]topologymanager.HintProvider
	// containers is how many grants there can be.
	containers int
	// misaligned is how the topology manager refuses the pod.
	misaligned error
	// lost are CPUs that the kubelet does not take back from a refused pod.
	lost cpuset.Set
}

// attempts keeps attempts for reuse. Hint providers are reached through an interface, so an attempt cannot live on
// the stack, and an admission in a scheduler's Filter should not allocate one.
var attempts = sync.Pool{New: func() any { return new(attempt) }}

// newAttempt begins an attempt. The caller gives it back with end.
func newAttempt(n *Node, p *Pod) *attempt {
	a := attempts.Get().(*attempt)
	a.node = n
	a.containers = len(p.Containers)
	a.misaligned = n.misaligned(p)
	a.cpus.Start(n.Topology, &n.CPUManager.Options, n.Minor, n.Reserved, n.Shared)
	return a
}

func (a *attempt) end() {
	a.node = nil
	a.grants = nil
	a.misaligned = nil
	a.lost = cpuset.Set{}
	attempts.Put(a)
}

// Admit is what the kubelet of n will do with the new pod p. It is exact where n.Inexact(*p) is "". After a refusal
// the pod holds nothing: the kubelet takes back what earlier containers got, with one exception (podLevel).
func Admit(n *Node, p *Pod) Decision {
	d := admit(n, p)
	if d.Verdict == Refused {
		empty := n.Empty()
		d.Preemptible = admit(&empty, p).Verdict == Admitted
	}
	return d
}

func admit(n *Node, p *Pod) Decision {
	if n.CPUManager.Policy != cpumanager.PolicyStatic || !n.Exclusive(p) {
		return Decision{Verdict: Admitted, Shared: n.Shared}
	}
	a := newAttempt(n, p)
	defer a.end()
	seen := n.sees(p)
	var err error
	switch {
	case n.TopologyManager.Policy == topologymanager.PolicyNone:
		err = a.unaligned(seen)
	case n.asOne(seen):
		err = a.podLevel(seen, nil)
	case n.TopologyManager.Scope == topologymanager.ScopePod:
		err = a.podScope(seen)
	default:
		err = a.containerScope(seen)
	}
	return a.decision(err)
}

// decision is the outcome of an attempt that ended with err.
func (a *attempt) decision(err error) Decision {
	if err == nil {
		return Decision{Verdict: Admitted, Grants: a.grants, Shared: a.cpus.Shared, NotFree: a.cpus.NotFree}
	}
	d := Decision{Verdict: Refused, Shared: a.node.Shared.Union(granted(a.grants)).Minus(a.lost)}
	if refusal, ok := err.(*topologymanager.Refusal); ok { // errors.As would allocate
		d.Reason = refusal.Reason
		d.Message = refusal.Message
		return d
	}
	d.Reason = ReasonUnexpected
	d.Message = "Allocate failed due to " + err.Error() + ", which is unexpected"
	return d
}

// unaligned grants container by container, with no NUMA node in mind.
func (a *attempt) unaligned(p *Pod) error {
	return a.each(p, func(c *Container) error { return a.grant(c, 0) })
}

// containerScope aligns and grants container by container. Each one's grant is missing from what the next one sees
// (pkg/kubelet/cm/topologymanager/scope_container.go, v1.36.3).
func (a *attempt) containerScope(p *Pod) error {
	return a.each(p, func(c *Container) error {
		affinity, err := a.align(c.CPUs)
		if err != nil {
			return err
		}
		return a.grant(c, affinity)
	})
}

// podScope aligns the pod as a whole, for as many CPUs as it needs at once, and then grants container by container
// (pkg/kubelet/cm/topologymanager/scope_pod.go, v1.36.3).
func (a *attempt) podScope(p *Pod) error {
	affinity, err := a.align(p.PeakCPUs())
	if err != nil {
		return err
	}
	return a.each(p, func(c *Container) error { return a.grant(c, affinity) })
}

// each calls f for the containers that ask for exclusive CPUs, up to the first error. The others need no alignment
// and are never refused.
func (a *attempt) each(p *Pod, f func(c *Container) error) error {
	for i := range p.Containers {
		c := &p.Containers[i]
		if c.CPUs == 0 {
			continue
		}
		if err := f(c); err != nil {
			return err
		}
	}
	return nil
}

// align asks the topology manager's policy for NUMA nodes.
func (a *attempt) align(need int) (topologymanager.Mask, error) {
	a.providers[0] = a.cpus.Hints(need)
	r := topologymanager.Request{Config: &a.node.TopologyManager, Topology: a.node.Topology, Providers: a.providers[:]}
	affinity, err := r.Affinity()
	if err == topologymanager.ErrAffinity {
		return 0, a.misaligned
	}
	return affinity, err
}

// grant gives a container its exclusive CPUs.
func (a *attempt) grant(c *Container, affinity topologymanager.Mask) error {
	cpus, err := a.cpus.Allocate(c.CPUs, affinity)
	if err != nil {
		return err
	}
	if a.grants == nil {
		a.grants = make([]Grant, 0, a.containers)
	}
	a.grants = append(a.grants, Grant{Container: c.Name, CPUs: cpus})
	if c.Kind == Init {
		a.cpus.Reusable = a.cpus.Reusable.Union(cpus)
	} else {
		a.cpus.Reusable = a.cpus.Reusable.Minus(cpus)
	}
	return nil
}
