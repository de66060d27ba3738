// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"fmt"
	"math"
	"strings"
)

// rule is one row of the table.
type rule struct {
	id string
	// field is the path from spec of a VMI, or from spec of its template. It starts with "metadata." for a field beside spec.
	field   string
	level   level
	broken  func(r *request) bool
	message func(r *request) string
	// from says where the rule comes from. A line number alone is one of KubeVirt's
	// pkg/virt-api/webhooks/validating-webhook/admitters/vmi-create-admitter.go (commit d923fdb815cd).
	from string
	// instancetype marks the rules for VMs with an instancetype. No other rules apply to those.
	instancetype bool
}

// path is the field's path from the VMI, or from the template.
func (r rule) path() string {
	if strings.HasPrefix(r.field, "metadata.") {
		return r.field
	}
	return "spec." + r.field
}

// level says what a broken rule means.
type level int

const (
	refuses level = iota // KubeVirt refuses the VM: an error under every strictness
	never                // KubeVirt accepts it, and it never starts or never gets exclusive CPUs: a warning under KubeVirt only
	risky                // it starts, and is killed later: an error for its author, but not under KubeVirt
	letter               // it works, against the letter of KubeVirt's user guide: an error under Strict only
	warns                // a warning under every strictness
)

func (l level) severity(strictness Strictness) Severity {
	switch {
	case l == refuses,
		l == never && strictness != KubeVirt,
		l == risky && strictness != KubeVirt,
		l == letter && strictness == Strict:
		return Error
	}
	return Warning
}

// starts reports whether a VM that breaks such a rule runs all the same.
func (l level) starts() bool { return l == risky || l == letter || l == warns }

// cpuRules are the rows of the table about the number of CPUs. Two of KubeVirt's rules have no row:
//
//   - :740 (NUMA gate) can never fire, the gate is always on;
//   - grace_io_virtualization.go:91 depends on which device a name stands for in the cluster.
var cpuRules = []rule{
	// Sizes that are missing or given twice.
	{
		id: "memory-missing", field: "domain.resources.limits.memory", from: ":922, :1229",
		broken:  func(r *request) bool { return r.memoryMissing() },
		message: text("no memory is given; set limits.memory, for example 2Gi"),
	},
	{
		id: "cpu-missing", field: "domain.cpu.cores",
		from:    ":842, which only sees templates of replica sets and pools before defaulting, and a product that wraps around to 0",
		broken:  func(r *request) bool { return r.cpuMissing() && (r.vcpus > 0 || !r.filledIn) },
		message: text("no number of CPUs is given; set cpu.cores, or limits.cpu, to a whole number"),
	},
	{
		id: "cpu-one-by-default", field: "domain.cpu.cores", level: warns, from: "defaults.go:285: without a number of CPUs, KubeVirt makes it 1",
		broken:  func(r *request) bool { return r.cpuMissing() && r.vcpus == 0 && r.filledIn },
		message: text("no number of CPUs is given, so the guest gets 1 vCPU; set cpu.cores, or limits.cpu, to a whole number"),
	},
	{
		id: "cpu-limit-zero", field: "domain.resources.limits.cpu", from: "defaults.go:297, and :810 for what it makes",
		broken: func(r *request) bool { return r.limitOfZero() },
		message: func(r *request) string {
			return fmt.Sprintf("a limit of 0 makes the guest 1 vCPU, and requests.cpu = %s asks for another number; remove the limit", r.requests.CPU.Text)
		},
	},
	{
		id: "cpu-given-twice", field: "domain.resources", from: ":810",
		broken: func(r *request) bool { return r.cpuGivenTwice() && !r.cpuAgrees() && !r.limitOfZero() },
		message: func(r *request) string {
			return fmt.Sprintf("cpu.sockets x cores x threads = %d and %s = %s both give the number of CPUs; remove one of the two",
				r.vcpus, r.cpuName(), r.cpuAmount().Text)
		},
	},
	{
		id: "vcpus-too-many", field: "domain.cpu", level: never, from: "pkg/cpuset: no machine has as many CPUs",
		broken: func(r *request) bool {
			amount := r.cpuAmount()
			return r.vcpus > maxVCPUs || r.dedicated && amount != nil && amount.Count() > maxVCPUs
		},
		message: func(*request) string {
			return fmt.Sprintf("more than %d CPUs are asked for, and no node has as many; ask for fewer", maxVCPUs)
		},
	},
	{
		id: "sockets-too-many", field: "domain.cpu.sockets",
		from:    "the CRD's schema (format int32), which sees the sockets that defaulting made of an amount",
		broken:  func(r *request) bool { return r.cpu.Sockets > math.MaxInt32 && r.positive(r.cpuAmount()) },
		message: text("the amount of CPU makes more sockets than can be written down; ask for fewer CPUs"),
	},
	{
		id: "cpu-given-twice-alike", field: "domain.resources", level: letter,
		from:   ":810 accepts it, and KubeVirt's user guide forbids it",
		broken: func(r *request) bool { return r.cpuGivenTwice() && r.cpuAgrees() && !r.cpuDefaulted() },
		message: func(r *request) string {
			return fmt.Sprintf("cpu.sockets x cores x threads and %s both give the number of CPUs, %d; one of the two is enough", r.cpuName(), r.counted)
		},
	},

	// Amounts of CPU. KubeVirt copies limits.cpu to requests.cpu where that is missing (defaults.go:262), so what is equal to the
	// limit is not reported a second time.
	{
		id: "cpu-requests-whole", field: "domain.resources.requests.cpu", from: ":910",
		broken: func(r *request) bool {
			return r.dedicated && !r.cpuCopied() && r.positive(r.requests.CPU) && !whole(r.requests.CPU, r.strictness)
		},
		message: func(r *request) string { return notWhole(r.requests.CPU) },
	},
	{
		id: "cpu-limits-whole", field: "domain.resources.limits.cpu", from: ":898",
		broken: func(r *request) bool {
			return r.dedicated && r.positive(r.limits.CPU) && !whole(r.limits.CPU, r.strictness)
		},
		message: func(r *request) string { return notWhole(r.limits.CPU) },
	},
	{
		id: "cpu-requests-limits-differ", field: "domain.resources.requests.cpu", from: ":827",
		broken:  func(r *request) bool { return r.dedicated && r.differ(r.requests.CPU, r.limits.CPU) },
		message: func(r *request) string { return differ(r.requests.CPU, "limits.cpu", r.limits.CPU) },
	},
	{
		id: "cpu-requests-negative", field: "domain.resources.requests.cpu", from: ":988",
		broken:  func(r *request) bool { return !r.cpuCopied() && r.negativeCPU(r.requests.CPU) },
		message: func(r *request) string { return isNegative(r.requests.CPU) },
	},
	{
		id: "cpu-limits-negative", field: "domain.resources.limits.cpu", from: ":975",
		broken:  func(r *request) bool { return r.negativeCPU(r.limits.CPU) },
		message: func(r *request) string { return isNegative(r.limits.CPU) },
	},
	{
		id: "cpu-requests-above-limits", field: "domain.resources.requests.cpu", from: ":959",
		broken: func(r *request) bool {
			return !r.dedicated && r.positive(r.limits.CPU) && r.requests.CPU != nil && r.above(r.requests.CPU, r.limits.CPU)
		},
		message: func(r *request) string { return above(r.requests.CPU, "limits.cpu", r.limits.CPU) },
	},
}

func notWhole(q *Quantity) string {
	return q.Text + " is not a whole number of CPUs, and only whole CPUs can be dedicated; write a whole number, for example 2"
}

func differ(q *Quantity, name string, other *Quantity) string {
	return fmt.Sprintf("%s differs from %s = %s, and CPUs are dedicated only where both are equal; make them equal or leave requests out",
		q.Text, name, other.Text)
}

func isNegative(q *Quantity) string { return q.Text + " is negative; write a positive amount" }

func above(q *Quantity, name string, other *Quantity) string {
	return fmt.Sprintf("%s is more than %s = %s; raise the limit or lower this", q.Text, name, other.Text)
}

func text(message string) func(*request) string {
	return func(*request) string { return message }
}
