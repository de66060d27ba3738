package kubeletcpu

import (
	"errors"
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// grant gives a container its exclusive CPUs: from the NUMA nodes it was aligned to as far as those
// have enough, and the rest from anywhere (Allocate and allocateCPUs in
// pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3). With the policy none of the topology manager
// aligned is nil.
//
// CPUs that the pod may reuse are allowed, not preferred: the allocator can well leave them idle, and
// then they are lost to everyone for as long as the pod lives.
func (a *admission) grant(c *Container, aligned *cpuset.Set) refusal {
	if r := a.wholeCoresOnly(c.CPUs); r.reason != "" {
		return r
	}
	cpus, r := a.takeAligned(c.CPUs, aligned)
	if r.reason != "" {
		return r
	}
	if a.decision.Grants == nil {
		a.decision.Grants = make([]Grant, 0, a.containers)
	}
	a.decision.Grants = append(a.decision.Grants, Grant{Container: c.Name, CPUs: cpus})
	if c.Kind == Init {
		a.reusable = a.reusable.Union(cpus)
	} else {
		a.reusable = a.reusable.Minus(cpus)
	}
	return refusal{}
}

// takeAligned takes need CPUs out of the shared pool, or of those that may be reused.
func (a *admission) takeAligned(need int, aligned *cpuset.Set) (cpus cpuset.Set, r refusal) {
	allowed := a.free().Union(a.reusable)
	// Of a machine with one NUMA node, single-numa-node names none (Merge in
	// pkg/kubelet/cm/topologymanager/policy_single_numa_node.go, v1.36.3): too few CPUs are told otherwise then.
	unnamed := a.node.TopologyManager.Policy == TopologySingleNUMANode && len(a.node.Topology.NUMANodes()) == 1
	if aligned != nil && !unnamed {
		from := allowed.Intersect(*aligned)
		if cpus, r = a.takeCPUs(from, min(need, a.m.count(&from))); r.reason != "" {
			return cpus, r
		}
	}
	if missing := need - a.m.count(&cpus); missing > 0 {
		taken, r := a.takeCPUs(allowed.Minus(cpus), missing)
		if r.reason != "" {
			return cpus, r
		}
		cpus = cpus.Union(taken)
	}
	a.decision.NotFree = a.decision.NotFree.Union(cpus.Minus(allowed))
	a.decision.Shared = a.decision.Shared.Minus(cpus)
	return cpus, refusal{}
}

// wholeCoresOnly is the option full-pcpus-only (enforceSMTAlignment, same file). It is only a check, of
// the whole machine and not of the NUMA node, and it does not count reusable CPUs: what keeps cores
// whole is that the packed allocator takes whole ones first.
func (a *admission) wholeCoresOnly(need int) refusal {
	if !a.node.CPUManager.Options.FullPCPUsOnly {
		return refusal{}
	}
	if need%a.m.cpusPerCore != 0 {
		return refusal{ReasonSMTAlignment, fmt.Sprintf(
			"SMT Alignment Error: requested %d cpus not multiple cpus per core = %d", need, a.m.cpusPerCore)}
	}
	shared := a.decision.Shared.Minus(a.node.Reserved)
	for reserved, c := a.node.Reserved, 0; !reserved.IsEmpty() && c < len(a.m.cores); c++ {
		if cpus := &a.m.cores[c].CPUs; a.m.common(cpus, &reserved) > 0 {
			shared = shared.Minus(*cpus)
			reserved = reserved.Minus(*cpus)
		}
	}
	if free := a.m.count(&shared); need > free {
		return refusal{ReasonSMTAlignment, fmt.Sprintf(
			"SMT Alignment Error: not enough free physical CPUs: available physical CPUs = %d, requested CPUs = %d, CPUs per core = %d",
			free, need, a.m.cpusPerCore)}
	}
	return refusal{}
}

// takeCPUs takes need of the CPUs from by the allocator that the options choose (takeByTopology, same
// file).
func (a *admission) takeCPUs(from cpuset.Set, need int) (cpuset.Set, refusal) {
	t := taking{machine: &a.m, free: from, need: need}
	return t.run(&a.node.CPUManager.Options, a.node.Minor)
}

func (t *taking) run(o *CPUManagerOptions, minor int) (cpuset.Set, refusal) {
	var r refusal
	if o.DistributeCPUsAcrossNUMA {
		r = t.distribute(o, minor)
	} else {
		r = t.pack(o)
	}
	return t.taken, r
}

// ReservedByCount is what a kubelet 1.<minor> reserves when its configuration gives an amount (the sum of
// system and kube reserved CPU, rounded up to n) and no list: CPUs taken from the empty machine as for a
// container. Where those are not n CPUs the kubelet does not start, which is the error; it is ErrHangs where the
// kubelet does not even get so far (NewStaticPolicy, same file).
func ReservedByCount(t *cputopology.Topology, cm CPUManager, minor, n int) (cpuset.Set, error) {
	m := newMachine(t)
	if n == m.cpus {
		return t.CPUs(), nil
	}
	take := taking{machine: &m, free: t.CPUs(), need: n}
	cpus, r := take.run(&cm.Options, minor)
	switch {
	case r.reason == ReasonEndless:
		return cpuset.Set{}, fmt.Errorf("reserving %d CPUs: %w", n, ErrHangs)
	case r.reason != "" || cpus.Len() != n:
		return cpuset.Set{}, fmt.Errorf("reserving %d of %d CPUs: the kubelet would not start: %s", n, m.cpus, r.message)
	}
	return cpus, nil
}

// ErrHangs is a kubelet that never gets to the end of its start: see ReasonEndless.
var ErrHangs = errors.New("the kubelet would not get to the end of its start: " + endless.message)
