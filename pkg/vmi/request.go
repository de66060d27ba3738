// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"cmp"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
)

// maxVCPUs is the largest guest that a node we can describe could hold.
const maxVCPUs = cpuset.MaxCPUs

// rules is the table, in the order in which findings are given.
var rules = slices.Concat(cpuRules, memoryRules, topologyRules, instancetypeRules)

// request is a VMI as the rules look at it.
type request struct {
	strictness   Strictness
	cluster      Cluster
	kind         string
	filledIn     bool // KubeVirt fills in defaults before it judges objects of this kind
	dedicated    bool
	vcpus        int64
	counted      int64 // vcpus, in KubeVirt's own arithmetic where its verdict is asked
	podCPUs      int64
	architecture string
	cpu          CPU
	memory       Memory
	pageSize     int64 // in bytes; 0 where there are no huge pages or the size is not an amount
	requests     Amounts
	limits       Amounts
	overcommit   bool
	ioPolicy     *string
	ioThreads    uint32
	annotations  map[string]string
}

func newRequest(v *VMI, strictness Strictness) *request {
	domain := v.Spec.Domain
	r := &request{
		strictness:   strictness,
		kind:         v.Kind,
		filledIn:     v.defaulted(),
		dedicated:    v.Dedicated(),
		vcpus:        v.VCPUs(),
		podCPUs:      v.PodCPUs(),
		architecture: v.Spec.Architecture,
		cpu:          domain.CPU,
		memory:       domain.Memory,
		requests:     domain.Resources.Requests,
		limits:       domain.Resources.Limits,
		overcommit:   domain.Resources.OvercommitGuestOverhead,
		ioPolicy:     domain.IOThreadsPolicy,
		annotations:  v.Annotations,
	}
	r.counted = r.vcpus
	if strictness == KubeVirt {
		r.counted = v.vcpusOfKubeVirt()
	}
	// No blanks here: by KubeVirt's schema this is a plain text, which KubeVirt parses itself.
	pages := r.memory.Hugepages
	if pages != nil && pages.PageSize == strings.TrimSpace(pages.PageSize) {
		if page, err := ParseQuantity(pages.PageSize); err == nil {
			r.pageSize = page.Count()
		}
	}
	if domain.IOThreads != nil && domain.IOThreads.SupplementalPoolThreadCount != nil {
		r.ioThreads = *domain.IOThreads.SupplementalPoolThreadCount
	}
	return r
}

// memoryMissing reports whether no memory is given. Without dedicated CPUs, KubeVirt asks for it when a VMI is made only.
func (r *request) memoryMissing() bool {
	late := r.strictness == KubeVirt && !r.dedicated && (r.kind == KindVM || r.kind == KindPool)
	return !late && r.memoryMissingLater()
}

// memoryMissingLater reports whether no memory is given. For a VM without dedicated CPUs, KubeVirt accepts any guest memory, even 0
// (:1229).
func (r *request) memoryMissingLater() bool {
	guest := given(r.memory.Guest) || r.strictness == KubeVirt && !r.dedicated && r.memory.Guest != nil
	return !given(r.requests.Memory) && !given(r.limits.Memory) && !guest && r.memory.Hugepages == nil
}

// positive reports whether an amount is above 0. KubeVirt asks after rounding up.
func (r *request) positive(q *Quantity) bool {
	if q != nil && r.strictness == KubeVirt {
		return q.Value() > 0
	}
	return q != nil && q.Sign() > 0
}

// negativeCPU reports whether an amount of CPU is below 0. KubeVirt asks after rounding up to thousandths.
func (r *request) negativeCPU(q *Quantity) bool {
	if q != nil && r.strictness == KubeVirt {
		return q.MilliValue() < 0
	}
	return negative(q)
}

// above reports whether an amount of CPU is more than another, in thousandths for KubeVirt.
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

// limitOfZero reports whether a limit of 0 makes the guest 1 vCPU while the request asks for another number. KubeVirt's defaulting takes
// the limit where there is one, so it writes 0 sockets of 1 core.
func (r *request) limitOfZero() bool {
	made := r.vcpus == 0 || r.cpu.Sockets == 0 && r.cpu.Cores == 1 && r.cpu.Threads == 1
	zero := r.limits.CPU != nil && r.limits.CPU.Sign() == 0
	return r.dedicated && made && zero && r.positive(r.requests.CPU) && r.requests.CPU.Count() > 1
}

// cpuMissing reports whether neither the topology nor an amount gives a number of CPUs.
func (r *request) cpuMissing() bool {
	return r.dedicated && !given(r.requests.CPU) && !given(r.limits.CPU) && r.counted == 0
}

// cpuGivenTwice reports whether both the topology and an amount give a number of CPUs.
func (r *request) cpuGivenTwice() bool {
	return r.dedicated && r.counted > 0 && (r.positive(r.requests.CPU) || r.positive(r.limits.CPU))
}

// cpuAgrees reports whether the request or the limit, rounded up, is the number of CPUs of the topology.
func (r *request) cpuAgrees() bool {
	agrees := func(q *Quantity) bool {
		switch {
		case q == nil:
			return false
		case r.strictness == KubeVirt:
			return q.Value() == r.counted
		default:
			return q.Count() == r.counted
		}
	}
	return agrees(r.requests.CPU) || agrees(r.limits.CPU)
}

// cpuDefaulted reports whether the topology has the very form in which KubeVirt's defaulting writes an amount
// down. Nobody can tell then whether the user or KubeVirt wrote it.
func (r *request) cpuDefaulted() bool {
	amount := cmp.Or(r.limits.CPU, r.requests.CPU) // as Default has it
	return r.cpu.Cores == 1 && r.cpu.Threads == 1 && int64(r.cpu.Sockets) == amount.Count()
}

// sockets is how many sockets the guest has, or gets: without a topology KubeVirt makes them of the amount of CPU.
func (r *request) sockets() int64 {
	amount := cmp.Or(r.limits.CPU, r.requests.CPU)
	if r.vcpus != 0 || amount == nil {
		return int64(r.cpu.Sockets)
	}
	return amount.Count()
}

// cpuCopied reports whether the CPU request is equal to the limit, as KubeVirt's defaulting makes it.
func (r *request) cpuCopied() bool {
	return r.requests.CPU != nil && r.limits.CPU != nil && r.requests.CPU.Cmp(r.limits.CPU.Quantity) == 0
}

// differ reports whether two amounts are both given and not equal.
func (r *request) differ(a, b *Quantity) bool {
	return r.positive(a) && r.positive(b) && !equal(a, b, r.strictness)
}

// guestAbove reports whether the guest's memory is more than an amount that is given.
func (r *request) guestAbove(amount *Quantity) bool {
	return r.positive(amount) && r.memory.Guest != nil && r.memory.Guest.Cmp(amount.Quantity) > 0
}

// paged is the memory that huge pages must hold (vmi-create-admitter.go:1070).
func (r *request) paged() *Quantity {
	return firstGiven(r.requests.Memory, r.memory.Guest, r.limits.Memory)
}

func (r *request) numaPassthrough() bool {
	return r.cpu.NUMA != nil && r.cpu.NUMA.GuestMappingPassthrough != nil
}

func (r *request) ioPool() bool { return r.ioPolicy != nil && *r.ioPolicy == SupplementalPool }

// evenParity reports whether the emulator's CPUs are to make the total even.
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
