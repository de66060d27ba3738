package vmi

import (
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
)

// maxVCPUs is the largest guest that a node we can describe could hold.
const maxVCPUs = cpuset.MaxCPUs

// rules is the table, in the order in which findings are given.
var rules = slices.Concat(cpuRules, memoryRules, topologyRules)

// request is a VMI as the rules look at it.
type request struct {
	strictness       Strictness
	kind             string
	dedicated        bool
	vcpus            int64
	architecture     string
	cpu              CPU
	memory           Memory
	pageSize         int64 // in bytes; 0 where there are no huge pages or the size is not one
	requests, limits Amounts
	overcommit       bool
	ioPolicy         *string
	ioThreads        uint32
	annotations      map[string]string
}

func newRequest(v *VMI, strictness Strictness) *request {
	domain := v.Spec.Domain
	r := &request{
		strictness: strictness, kind: v.Kind, dedicated: v.Dedicated(), vcpus: v.VCPUs(), architecture: v.Spec.Architecture,
		cpu: domain.CPU, memory: domain.Memory, requests: domain.Resources.Requests, limits: domain.Resources.Limits,
		overcommit: domain.Resources.OvercommitGuestOverhead, ioPolicy: domain.IOThreadsPolicy, annotations: v.Annotations,
	}
	if r.memory.Hugepages != nil {
		if page, err := ParseQuantity(r.memory.Hugepages.PageSize); err == nil {
			r.pageSize = max(page.Count(), 0)
		}
	}
	if domain.IOThreads != nil && domain.IOThreads.SupplementalPoolThreadCount != nil {
		r.ioThreads = *domain.IOThreads.SupplementalPoolThreadCount
	}
	return r
}

func (r *request) memoryMissing() bool {
	return !given(r.requests.Memory) && !given(r.limits.Memory) && !given(r.memory.Guest) && r.memory.Hugepages == nil
}

// cpuAmount is the CPU amount in resources, nil where none is given.
func (r *request) cpuAmount() *Quantity { return firstGiven(r.limits.CPU, r.requests.CPU) }

// cpuName names the amount that cpuAmount gives.
func (r *request) cpuName() string {
	if given(r.limits.CPU) {
		return "limits.cpu"
	}
	return "requests.cpu"
}

// cpuGivenTwice: KubeVirt refuses a topology beside an amount when neither request nor limit agrees with
// it; Strict refuses both given in any case, except in the very form in which KubeVirt's defaulting
// writes an amount down as a topology, since nobody can tell whether a user or KubeVirt wrote that.
func (r *request) cpuGivenTwice() bool {
	if !r.dedicated || r.vcpus == 0 || !positive(r.requests.CPU) && !positive(r.limits.CPU) {
		return false
	}
	if r.strictness == KubeVirt {
		agrees := func(q *Quantity) bool { return q != nil && q.Count() == r.vcpus }
		return !agrees(r.requests.CPU) && !agrees(r.limits.CPU)
	}
	defaulted := r.cpu.Cores == 1 && r.cpu.Threads == 1 && int64(r.cpu.Sockets) == r.cpuAmount().Count()
	return !defaulted
}

// differ tells whether two amounts are both given and not equal.
func (r *request) differ(a, b *Quantity) bool {
	return positive(a) && positive(b) && !equal(a, b, r.strictness)
}

// paged is the memory that huge pages must hold (vmi-create-admitter.go:1070).
func (r *request) paged() *Quantity {
	return firstGiven(r.requests.Memory, r.memory.Guest, r.limits.Memory)
}

func (r *request) numaPassthrough() bool {
	return r.cpu.NUMA != nil && r.cpu.NUMA.GuestMappingPassthrough != nil
}

func (r *request) ioPool() bool { return r.ioPolicy != nil && *r.ioPolicy == SupplementalPool }

// evenParity tells whether the emulator's CPUs are to make the total even.
func (r *request) evenParity() bool {
	_, asked := r.annotations[EvenParityAnnotation]
	return asked && r.dedicated && r.cpu.IsolateEmulatorThread
}
