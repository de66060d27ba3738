package vmi

import (
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
)

// maxVCPUs is the largest guest that a node we can describe could hold.
const maxVCPUs = cpuset.MaxCPUs

// rules is the table, in the order in which findings are given.
var rules = slices.Concat(cpuRules, memoryRules, topologyRules)

// request is a VMI as the rules look at it.
type request struct {
	strictness       Strictness
	cluster          Cluster
	kind             string
	dedicated        bool
	vcpus            int64
	counted          int64 // vcpus, in KubeVirt's arithmetic where its verdict is asked
	architecture     string
	cpu              CPU
	memory           Memory
	pageSize         int64 // in bytes; 0 where there are no huge pages or the size is not an amount
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
	if r.counted = r.vcpus; strictness == KubeVirt {
		r.counted = v.vcpusOfKubeVirt()
	}
	// No blanks here: this is not a quantity by KubeVirt's schema, but a text that it parses itself.
	if pages := r.memory.Hugepages; pages != nil && pages.PageSize == strings.TrimSpace(pages.PageSize) {
		if page, err := ParseQuantity(pages.PageSize); err == nil {
			r.pageSize = page.Count()
		}
	}
	if domain.IOThreads != nil && domain.IOThreads.SupplementalPoolThreadCount != nil {
		r.ioThreads = *domain.IOThreads.SupplementalPoolThreadCount
	}
	return r
}

// memoryMissing: of a VM without dedicated CPUs KubeVirt takes any guest memory for given, even 0 (:1229).
func (r *request) memoryMissing() bool {
	guest := given(r.memory.Guest) || r.strictness == KubeVirt && !r.dedicated && r.memory.Guest != nil
	return !given(r.requests.Memory) && !given(r.limits.Memory) && !guest && r.memory.Hugepages == nil
}

// positive tells whether an amount is above 0. KubeVirt asks after rounding up.
func (r *request) positive(q *Quantity) bool {
	if q != nil && r.strictness == KubeVirt {
		return q.Value() > 0
	}
	return q != nil && q.Sign() > 0
}

// negativeCPU tells whether an amount of CPU is below 0. KubeVirt asks for thousandths.
func (r *request) negativeCPU(q *Quantity) bool {
	if q != nil && r.strictness == KubeVirt {
		return q.MilliValue() < 0
	}
	return negative(q)
}

// above tells whether an amount of CPU is more than another, in thousandths for KubeVirt.
func (r *request) above(q, limit *Quantity) bool {
	if r.strictness == KubeVirt {
		return q.MilliValue() > limit.MilliValue()
	}
	return q.Cmp(limit.Quantity) > 0
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
// it; Strict refuses both given in any case.
func (r *request) cpuGivenTwice() bool {
	if r.strictness == KubeVirt {
		return r.bothGiven() && !r.cpuAgrees()
	}
	return r.bothGiven() && !r.cpuDefaulted()
}

func (r *request) bothGiven() bool {
	return r.dedicated && r.counted > 0 && (r.positive(r.requests.CPU) || r.positive(r.limits.CPU))
}

func (r *request) cpuAgrees() bool {
	agrees := func(q *Quantity) bool { return q != nil && q.Value() == r.counted }
	return agrees(r.requests.CPU) || agrees(r.limits.CPU)
}

// cpuDefaulted tells whether the topology stands in the very form in which KubeVirt's defaulting writes an
// amount down: nobody can tell then whether a user or KubeVirt wrote it.
func (r *request) cpuDefaulted() bool {
	return r.cpu.Cores == 1 && r.cpu.Threads == 1 && int64(r.cpu.Sockets) == r.cpuAmount().Count()
}

// differ tells whether two amounts are both given and not equal.
func (r *request) differ(a, b *Quantity) bool {
	return r.positive(a) && r.positive(b) && !equal(a, b, r.strictness)
}

func (r *request) guestAboveLimits() bool {
	return r.positive(r.limits.Memory) && r.memory.Guest != nil && r.memory.Guest.Cmp(r.limits.Memory.Quantity) > 0
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

// badFeaturePolicy is the first policy of a CPU feature that KubeVirt does not know.
func (r *request) badFeaturePolicy() (policy string, bad bool) {
	for _, feature := range r.cpu.Features {
		if !slices.Contains([]string{"", "force", "require", "optional", "disable", "forbid"}, feature.Policy) {
			return feature.Policy, true
		}
	}
	return "", false
}

// sizes names the fields in which the VM itself gives a number of CPUs.
func (r *request) sizes() []string {
	var names []string
	for _, size := range []struct {
		name  string
		given bool
	}{
		{"sockets", r.cpu.Sockets != 0}, {"cores", r.cpu.Cores != 0}, {"threads", r.cpu.Threads != 0},
		{"requests.cpu", r.requests.CPU != nil}, {"limits.cpu", r.limits.CPU != nil},
	} {
		if size.given {
			names = append(names, size.name)
		}
	}
	return names
}
