package vmi

import (
	"fmt"
	"strings"
)

// Strictness chooses whose rules Check applies.
type Strictness int

const (
	// Strict refuses what KubeVirt's webhook refuses, and also what can never work and a CPU count that is
	// given twice; it compares amounts exactly.
	Strict Strictness = iota
	// KubeVirt refuses what KubeVirt's webhook refuses, rounding as it does, and only warns of the rest. It
	// is for clusters where another judge stands before us.
	KubeVirt
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
// instancetype only that is judged which does not depend on it, since its sizes stand elsewhere; Instancetype.Apply
// brings both together.
func Check(v *VMI, strictness Strictness) []Finding { return Cluster{}.check(v, strictness) }

func (c Cluster) check(v *VMI, strictness Strictness) []Finding {
	prefix := ""
	if v.Kind == KindVM {
		prefix = "spec.template."
	}
	var findings []Finding
	request := newRequest(v, strictness)
	request.cluster = c
	for _, rule := range rules {
		if rule.instancetype != (v.Instancetype != nil) || !rule.broken(request) {
			continue
		}
		findings = append(findings, Finding{
			Rule: rule.id, Severity: rule.level.severity(strictness), Field: prefix + rule.path(), Message: rule.message(request),
		})
	}
	return findings
}

// Judge is Cluster.Judge for a cluster with KubeVirt's default settings.
func Judge(v *VMI, strictness Strictness) []Finding { return Cluster{}.Judge(v, strictness) }

// ParseStrictness reads a strictness in any case: "strict" or "kubevirt".
func ParseStrictness(text string) (Strictness, error) {
	for _, s := range []Strictness{Strict, KubeVirt} {
		if strings.EqualFold(text, s.String()) {
			return s, nil
		}
	}
	return Strict, fmt.Errorf("%q is not a strictness; write %s or %s", abbreviate(text), Strict, KubeVirt)
}

// String gives the strictness as it stands in configuration.
func (s Strictness) String() string {
	if s == KubeVirt {
		return "KubeVirt"
	}
	return "Strict"
}

// MarshalText writes the strictness as String does.
func (s Strictness) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseStrictness reads.
func (s *Strictness) UnmarshalText(text []byte) (err error) {
	*s, err = ParseStrictness(string(text))
	return err
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
