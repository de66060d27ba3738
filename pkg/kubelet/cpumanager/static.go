// SPDX-License-Identifier: Apache-2.0

package cpumanager

import (
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// ReasonSMTAlignment is the reason of a pod that full-pcpus-only refuses (ErrorSMTAlignment in policy_static.go,
// v1.36.3).
const ReasonSMTAlignment = "SMTAlignmentError"

// Static is the policy static while one pod is admitted.
type Static struct {
	machine
	options  *Options
	reserved *cpuset.Set
	hints    Hints
	taking   taking // scratch

	// Shared is the shared pool, defaultCpuSet in cpu_manager_state.
	Shared cpuset.Set
	// Reusable are CPUs of the pod's init containers, which a later container may get.
	Reusable cpuset.Set
	// NotFree are CPUs that were taken although they were not free: see packed.go.
	NotFree cpuset.Set
}

// Start sets the policy up on a machine, for a kubelet 1.<version> with these options. A Static is meant to be used again:
// it keeps what it knows of the machine. Nobody may change reserved meanwhile.
func (s *Static) Start(t *cputopology.Topology, o *Options, version int, reserved, shared *cpuset.Set) {
	if s.topology != t || s.minor != minor(version) {
		s.machine = newMachine(t, minor(version))
	}
	s.options = o
	s.reserved = reserved
	s.Shared = *shared
	s.Reusable = cpuset.Set{}
	s.NotFree = cpuset.Set{}
}

// free are the CPUs that can be granted now.
func (s *Static) free() cpuset.Set {
	free := s.Shared
	s.remove(&free, s.reserved)
	return free
}

// Allocate takes need CPUs for a container: from the NUMA nodes of affinity as far as those have enough, and the
// rest from anywhere (Allocate and allocateCPUs in policy_static.go, v1.36.3). An affinity of 0 is none.
//
// CPUs that the pod may reuse are allowed, not preferred. The allocator can leave them idle, and then they are lost
// to everyone for as long as the pod lives.
func (s *Static) Allocate(need int, affinity topologymanager.Mask) (cpuset.Set, error) {
	if err := s.CheckSMT(need); err != nil {
		return cpuset.Set{}, err
	}
	return s.Take(need, affinity)
}

// Take is Allocate without the check of full-pcpus-only.
func (s *Static) Take(need int, affinity topologymanager.Mask) (cpuset.Set, error) {
	allowed := s.free()
	s.add(&allowed, &s.Reusable)
	var cpus cpuset.Set
	var err error
	if affinity != 0 {
		from := s.aligned(affinity)
		available := s.common(&from, &allowed)
		for w := range s.words {
			from[w] &= allowed[w]
		}
		cpus, err = s.TakeFrom(&from, min(need, available), affinity)
		if err != nil {
			return cpuset.Set{}, err
		}
	}
	missing := need - s.count(&cpus)
	if missing > 0 {
		rest := allowed
		s.remove(&rest, &cpus)
		taken, err := s.TakeFrom(&rest, missing, 0)
		if err != nil {
			return cpuset.Set{}, err
		}
		s.add(&cpus, &taken)
	}
	for w := range s.words {
		s.NotFree[w] |= cpus[w] &^ allowed[w]
	}
	s.remove(&s.Shared, &cpus)
	return cpus, nil
}

// Keep sets whether later containers of the pod may reuse CPUs that one of its containers got: those of an init container
// that ends.
func (s *Static) Keep(cpus *cpuset.Set, reusable bool) {
	if reusable {
		s.add(&s.Reusable, cpus)
		return
	}
	s.remove(&s.Reusable, cpus)
}

// aligned are the CPUs of the NUMA nodes of affinity, or of their sockets with align-by-socket.
func (s *Static) aligned(affinity topologymanager.Mask) cpuset.Set {
	cpus := s.cpusOf(affinity)
	if !s.options.AlignBySocket {
		return cpus
	}
	var wide cpuset.Set
	sockets := s.topology.SocketUnits()
	for i := range sockets {
		if s.meet(&sockets[i].CPUs, &cpus) {
			s.add(&wide, &sockets[i].CPUs)
		}
	}
	return wide
}

// CheckSMT is the option full-pcpus-only (Allocate and enforceSMTAlignment in policy_static.go, v1.36.3). It looks at
// the whole machine and not at the NUMA node, and it does not count reusable CPUs. What keeps cores whole is that
// the packed allocator takes whole ones first.
func (s *Static) CheckSMT(need int) error {
	if !s.options.FullPCPUsOnly {
		return nil
	}
	if need%s.cpusPerCore != 0 {
		return &topologymanager.Refusal{Reason: ReasonSMTAlignment, Message: fmt.Sprintf(
			"SMT Alignment Error: requested %d cpus not multiple cpus per core = %d", need, s.cpusPerCore)}
	}
	available := s.free()
	reserved := s.count(s.reserved)
	for c := 0; reserved > 0 && c < len(s.cores); c++ {
		cpus := &s.cores[c].CPUs
		of := s.common(cpus, s.reserved)
		if of > 0 {
			s.remove(&available, cpus)
			reserved -= of
		}
	}
	free := s.count(&available)
	if need > free {
		return &topologymanager.Refusal{Reason: ReasonSMTAlignment, Message: fmt.Sprintf(
			"SMT Alignment Error: not enough free physical CPUs: available physical CPUs = %d, requested CPUs = %d, CPUs per core = %d",
			free, need, s.cpusPerCore)}
	}
	return nil
}

// TakeFrom takes need of the CPUs from, by the allocator that the options choose (takeByTopology in
// policy_static.go, v1.36.3). affinity is the topology manager's choice, 0 for none: minor.heedsHint. It changes nothing
// else.
func (s *Static) TakeFrom(from *cpuset.Set, need int, affinity topologymanager.Mask) (cpuset.Set, error) {
	t := &s.taking
	*t = taking{machine: &s.machine, free: *from, need: need, hintNodes: affinity.Len()}
	err := t.run(s.options)
	return t.taken, err
}

func (t *taking) run(o *Options) error {
	if o.DistributeCPUsAcrossNUMA {
		return t.distribute(o)
	}
	return t.pack(o)
}
