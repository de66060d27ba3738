package vmi

// Strictness chooses whose rules Check applies.
type Strictness int

const (
	// KubeVirt refuses what KubeVirt's webhook refuses, rounding as it does, and only warns of what can
	// never work. It is for clusters where another judge stands before us.
	KubeVirt Strictness = iota
	// Strict also refuses what can never work and a CPU count that is given twice, and compares amounts
	// exactly.
	Strict
)

// Severity tells whether a finding refuses the VM.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the VM is refused
	Warning Severity = "warning" // the VM passes
)

// Finding is one broken rule.
type Finding struct {
	// Rule is the id of the rule, the same in every place that tells of it.
	Rule string
	// Severity tells whether the finding refuses the VM.
	Severity Severity
	// Field is the path of the field to change, as it stands in the user's YAML.
	Field string
	// Message tells what is wrong and how to put it right.
	Message string
}

// String gives the finding as users see it.
func (f Finding) String() string { return f.Field + ": " + f.Message }

// Check applies the table of rules and gives every broken one, in the order of the table.
//
// It judges v as it stands. Call Default first to judge it as KubeVirt's webhook does; before Default a
// VM that names no number of CPUs is refused, after it that VM has one vCPU. Of a VirtualMachine with an
// instancetype nothing is judged, since its sizes stand elsewhere: the VMI made from it is judged.
func Check(v *VMI, strictness Strictness) []Finding {
	if v.Instancetype {
		return nil
	}
	prefix := "spec."
	if v.Kind == KindVM {
		prefix = "spec.template.spec."
	}
	var findings []Finding
	request := newRequest(v, strictness)
	for _, rule := range rules {
		if !rule.broken(request) {
			continue
		}
		findings = append(findings, Finding{
			Rule: rule.id, Severity: rule.level.severity(strictness), Field: prefix + rule.field, Message: rule.message(request),
		})
	}
	return findings
}

// Errors are the findings that refuse the VM; nil means that it may pass.
func Errors(findings []Finding) []Finding {
	var errors []Finding
	for _, finding := range findings {
		if finding.Severity == Error {
			errors = append(errors, finding)
		}
	}
	return errors
}
