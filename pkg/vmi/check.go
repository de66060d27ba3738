// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"fmt"
	"strings"
)

// Strictness chooses which broken rules refuse a VM.
type Strictness int

const (
	// Standard refuses what KubeVirt's webhook refuses, and what can never work: a VM that KubeVirt accepts and
	// that no kubelet would give exclusive CPUs, that never starts, or that is killed for its memory.
	Standard Strictness = iota
	// Strict refuses two more things that work: a number of CPUs that is given twice, as KubeVirt's user guide
	// forbids it, and amounts that are whole or equal only after KubeVirt's rounding.
	Strict
	// KubeVirt refuses only what KubeVirt's webhook refuses, in KubeVirt's own arithmetic, and warns of the rest.
	KubeVirt
)

// strictnesses are all there are, in the order in which messages list them.
var strictnesses = []Strictness{Standard, Strict, KubeVirt}

// Severity says whether a finding refuses the VM.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the VM is refused
	Warning Severity = "warning" // the VM passes
)

// Finding is one broken rule.
type Finding struct {
	// Rule is the id of the rule, the same wherever it is reported.
	Rule string
	// Severity says whether the finding refuses the VM of an author.
	Severity Severity
	// Starts is set when the VM would run all the same. Its author is refused, but a VM that exists is not kept from starting.
	Starts bool
	// Field is the path of the field to change, from the root of the object.
	Field string
	// Message says what is wrong and how to fix it.
	Message string
}

// String is the finding as users see it.
func (f Finding) String() string { return f.Field + ": " + f.Message }

// Check applies the table of rules and returns every broken one, in the order of the table.
//
// It judges v as it stands; Judge first fills in what KubeVirt would. A VirtualMachine with an instancetype is judged
// only by what does not depend on the sizes in there. Expand brings both together.
func Check(v *VMI, strictness Strictness) []Finding { return Cluster{}.check(v, strictness) }

func (c Cluster) check(v *VMI, strictness Strictness) []Finding {
	var findings []Finding
	request := newRequest(v, strictness)
	request.cluster = c
	for _, rule := range rules {
		if rule.instancetype != (v.Instancetype != nil) || !rule.broken(request) {
			continue
		}
		findings = append(findings, Finding{
			Rule:     rule.id,
			Severity: rule.level.severity(strictness),
			Starts:   rule.level.starts(),
			Field:    templatePath(v.Kind) + rule.path(),
			Message:  rule.message(request),
		})
	}
	return findings
}

// Judge is Cluster.Judge for a cluster with KubeVirt's default settings.
func Judge(v *VMI, strictness Strictness) []Finding { return Cluster{}.Judge(v, strictness) }

// ParseStrictness reads a strictness in any case: "standard", "strict" or "kubevirt".
func ParseStrictness(text string) (Strictness, error) {
	for _, s := range strictnesses {
		if strings.EqualFold(text, s.String()) {
			return s, nil
		}
	}
	return Standard, fmt.Errorf("%q is not a strictness; write %s, %s or %s", abbreviate(text), Standard, Strict, KubeVirt)
}

// String is the strictness as it is written in configuration.
func (s Strictness) String() string {
	switch s {
	case Strict:
		return "Strict"
	case KubeVirt:
		return "KubeVirt"
	default:
		return "Standard"
	}
}

// MarshalText writes the strictness as String does.
func (s Strictness) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseStrictness reads.
func (s *Strictness) UnmarshalText(text []byte) (err error) {
	*s, err = ParseStrictness(string(text))
	return err
}

// Errors are the findings that refuse the VM of an author; nil means that it may pass.
func Errors(findings []Finding) []Finding {
	return filter(findings, func(f Finding) bool { return f.Severity == Error })
}

// Hopeless are the findings that refuse a VM that already exists. Of the errors, these are the ones with which
// the VM would not run, so that refusing it takes nothing from anybody.
func Hopeless(findings []Finding) []Finding {
	return filter(findings, func(f Finding) bool { return f.Severity == Error && !f.Starts })
}

func filter(findings []Finding, keep func(Finding) bool) []Finding {
	var kept []Finding
	for _, finding := range findings {
		if keep(finding) {
			kept = append(kept, finding)
		}
	}
	return kept
}
