package vmi

import (
	"fmt"
	"math"
	"strings"
)

// rule is one row of the table.
type rule struct {
	id      string
	field   string // from spec of a VMI, or spec.template.spec of a VirtualMachine, or beside it in metadata
	level   level
	broken  func(r *request) bool
	message func(r *request) string
	// from tells where the rule comes from: a line of KubeVirt's
	// pkg/virt-api/webhooks/validating-webhook/admitters/vmi-create-admitter.go (commit d923fdb815cd) where
	// only a number stands.
	from string
	// instancetype tells of the rules for VMs whose sizes stand in an instancetype; no others apply to those.
	instancetype bool
}

// path is the field from the VMI, or the template, on.
func (r rule) path() string {
	if strings.HasPrefix(r.field, "metadata.") {
		return r.field
	}
	return "spec." + r.field
}

// level tells what a broken rule means.
type level int

const (
	refuses level = iota // an error under either strictness
	strict               // an error under Strict, a warning under KubeVirt, which lets it pass
	warns                // a warning under either
)

func (l level) severity(strictness Strictness) Severity {
	if l == warns || l == strict && strictness == KubeVirt {
		return Warning
	}
	return Error
}

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
		id: "cpu-missing", field: "domain.cpu.cores", from: ":842",
		broken: func(r *request) bool {
			return r.dedicated && !given(r.requests.CPU) && !given(r.limits.CPU) && r.counted == 0
		},
		message: text("no number of CPUs is given; set cpu.cores, or limits.cpu, to a whole number"),
	},
	{
		id: "cpu-given-twice", field: "domain.resources", from: ":810",
		broken: func(r *request) bool { return r.cpuGivenTwice() },
		message: func(r *request) string {
			return fmt.Sprintf("cpu.sockets x cores x threads = %d and %s = %s both give the number of CPUs; remove one of the two",
				r.vcpus, r.cpuName(), r.cpuAmount().Text)
		},
	},
	{
		id: "vcpus-too-many", field: "domain.cpu", level: strict, from: "pkg/cpuset: no machine has as many CPUs",
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
		from:    "the CRD's schema, which judges the sockets that defaulting made of an amount: format int32",
		broken:  func(r *request) bool { return r.cpu.Sockets > math.MaxInt32 && r.positive(r.cpuAmount()) },
		message: text("the amount of CPU makes more sockets than can be written down; ask for fewer CPUs"),
	},
	{
		id: "cpu-given-twice-alike", field: "domain.resources", level: warns,
		from: ":810 lets it pass though KubeVirt's own documentation forbids it; Strict refuses it as cpu-given-twice",
		broken: func(r *request) bool {
			return r.strictness == KubeVirt && r.bothGiven() && r.cpuAgrees() && !r.cpuDefaulted()
		},
		message: func(r *request) string {
			return fmt.Sprintf("cpu.sockets x cores x threads and %s both give the number of CPUs, %d; remove one of the two", r.cpuName(), r.counted)
		},
	},

	// Amounts of CPU.
	{
		id: "cpu-requests-whole", field: "domain.resources.requests.cpu", from: ":910",
		broken: func(r *request) bool {
			return r.dedicated && r.positive(r.requests.CPU) && !whole(r.requests.CPU, r.strictness)
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
		broken:  func(r *request) bool { return r.negativeCPU(r.requests.CPU) },
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
