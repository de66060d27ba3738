// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/simulation"
)

// rebalanced is a plan, and what it was made of.
type rebalanced struct {
	*simulation.Plan
	*migrants
	town   *town
	limits simulation.Limits
	// goal is the shape of which more VMs are to fit; "" where one VM is to fit.
	goal string
	// applied reports that the migrations are about to be made, so that nobody has to be told how.
	applied bool
}

// print writes the plan for people.
func (p *rebalanced) print(out *printer) {
	out.printf("%s\n", p.sum())
	for i := range p.Migrations {
		m := &p.Migrations[i]
		out.printf("  %d. %s  %s -> %s  frees CPUs %s of %s; gets %s\n", i+1, m.Pod.Name, m.From, m.To, cpusOf(m.Frees), m.From, cpusOf(m.Gets))
		if p.goal != "" {
			out.printf("     %s: %d more fit then\n", p.goal, m.Room)
		}
	}
	switch {
	case !p.Found && p.goal == "":
		out.printf("  now: %s\n", causesText(p.Then.Causes))
	case p.goal != "":
	case p.Then.Estimated:
		out.printf("  %s  %s  %s\n", p.Then.Pod.Name, p.Then.Node, unknownCPUs)
	case len(p.Migrations) == 0:
		out.printf("  %s  %s  gets %s\n", p.Then.Pod.Name, p.Then.Node, cpusOf(p.Then.Grants))
	default:
		out.printf("  then %s  %s  gets %s\n", p.Then.Pod.Name, p.Then.Node, cpusOf(p.Then.Grants))
	}
	if len(p.Migrations) > 0 || !p.Found {
		out.printf("%s\n", p.text())
	}
	if len(p.Migrations) == 0 || p.applied {
		return
	}
	out.printf("create them one after the other, each when the one before has Succeeded:\n")
	for i := range p.Migrations {
		m := p.migration(&p.Migrations[i])
		out.printf("  %d. %s in namespace %s: {vmiName: %s, addedNodeSelector: {%s: %s}}\n",
			i+1, m.Kind, m.Metadata.Namespace, m.Spec.VMIName, corev1.LabelHostname, m.Spec.AddedNodeSelector[corev1.LabelHostname])
	}
}

// sum is the answer in one line.
func (p *rebalanced) sum() string {
	after := fmt.Sprintf("after %s", migrations(len(p.Migrations)))
	switch {
	case p.goal != "" && p.Found:
		return fmt.Sprintf("%s: %d more fit now, %d %s%s", p.goal, p.Room, p.after(), after, p.cut("a better plan"))
	case p.goal != "":
		return fmt.Sprintf("%s: %d more fit now, and no plan of at most %s was found that wins any, %s%s", p.goal, p.Room, migrations(p.limits.Migrations), p.searched(), p.cut("one"))
	case !p.Found:
		return fmt.Sprintf("%s: no plan of at most %s was found, %s%s", p.Then.Pod.Name, migrations(p.limits.Migrations), p.searched(), p.cut("one"))
	case p.Then.Estimated:
		return fmt.Sprintf("%s fits on %s already, by an estimate", p.Then.Pod.Name, p.Then.Node)
	case len(p.Migrations) == 0:
		return fmt.Sprintf("%s fits on %s already", p.Then.Pod.Name, p.Then.Node)
	}
	return fmt.Sprintf("%s fits on %s %s%s", p.Then.Pod.Name, p.Then.Node, after, p.cut("a shorter plan"))
}

func (p *rebalanced) searched() string { return fmt.Sprintf("%d placements searched", p.Tried) }

// cut says of a search that had to end what may exist all the same; "" for another.
func (p *rebalanced) cut(what string) string {
	if !p.Cut {
		return ""
	}
	text := "; " + what + " may exist, see --max-placements"
	if p.Found {
		return "; " + p.searched() + text
	}
	return text
}

// after is how many more VMs of the goal fit after the last migration.
func (p *rebalanced) after() int {
	if len(p.Migrations) == 0 {
		return p.Room
	}
	return p.Migrations[len(p.Migrations)-1].Room
}

func migrations(n int) string {
	if n == 1 {
		return "1 migration"
	}
	return fmt.Sprintf("%d migrations", n)
}

// cpusOf are the CPUs of all containers.
func cpusOf(grants []admission.Grant) string {
	return admission.Decision{Grants: grants}.Granted().String()
}

// migrationObject is a VirtualMachineInstanceMigration that does not exist yet.
type migrationObject struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        migrationMeta `json:"metadata"`
	Spec            migrationSpec `json:"spec"`
}

type migrationMeta struct {
	GenerateName string            `json:"generateName"`
	Namespace    string            `json:"namespace"`
	Labels       map[string]string `json:"labels,omitempty"`
}

type migrationSpec struct {
	VMIName           string            `json:"vmiName"`
	AddedNodeSelector map[string]string `json:"addedNodeSelector"`
}

// migration is the object that asks KubeVirt for a migration.
func (p *rebalanced) migration(m *simulation.Migration) *migrationObject {
	l, _ := launcher.Of(m.Pod.Spec)
	object := &migrationObject{TypeMeta: metav1.TypeMeta{APIVersion: "kubevirt.io/v1", Kind: "VirtualMachineInstanceMigration"}}
	object.Metadata = migrationMeta{GenerateName: "corepin-rebalance-", Namespace: l.VMI.Namespace}
	if p.applied {
		object.Metadata.Labels = map[string]string{madeByLabel: madeByRebalance}
	}
	object.Spec = migrationSpec{VMIName: l.VMI.Name, AddedNodeSelector: map[string]string{corev1.LabelHostname: p.town.hostname(m.To)}}
	return object
}

// rebalanceStep is a line of rebalance -o json: a migration.
type rebalanceStep struct {
	Step  int               `json:"step"`
	VM    string            `json:"vm"`
	From  string            `json:"from"`
	To    string            `json:"to"`
	Frees map[string]string `json:"frees"`
	Gets  map[string]string `json:"gets"`
	// Fit is how many more VMs of the goal fit after it.
	Fit       *int             `json:"fit,omitempty"`
	Migration *migrationObject `json:"migration"`
}

// rebalanceLine is the last line of rebalance -o json: the answer.
type rebalanceLine struct {
	Found      bool `json:"found"`
	Migrations int  `json:"migrations"`
	// VM, Node and CPUs are about the VM that is to fit.
	VM        string            `json:"vm,omitempty"`
	Node      string            `json:"node,omitempty"`
	CPUs      map[string]string `json:"cpus,omitempty"`
	Estimated bool              `json:"estimated,omitempty"`
	// Shape is the goal, and Before and After how many more of it fit.
	Shape  string `json:"shape,omitempty"`
	Before *int   `json:"before,omitempty"`
	After  *int   `json:"after,omitempty"`
	// Searched is how many placements were tried, and Complete reports that no limit of them was reached.
	Searched int                `json:"searched"`
	Complete bool               `json:"complete"`
	Causes   []simulation.Cause `json:"causes,omitempty"`
	Movable  int                `json:"movable"`
	Stay     []stay             `json:"stay"`
}

func (p *rebalanced) encode(out *printer) {
	for i := range p.Migrations {
		m := &p.Migrations[i]
		step := rebalanceStep{Step: i + 1, VM: m.Pod.Name, From: m.From, To: m.To, Frees: byContainer(m.Frees), Gets: byContainer(m.Gets), Migration: p.migration(m)}
		if p.goal != "" {
			step.Fit = &m.Room
		}
		out.encode(step)
	}
	line := rebalanceLine{Found: p.Found, Migrations: len(p.Migrations), Searched: p.Tried, Complete: !p.Cut, Movable: len(p.targets), Stay: p.staying()}
	if p.goal != "" {
		after := p.after()
		line.Shape = p.goal
		line.Before = &p.Room
		line.After = &after
	} else {
		line.VM = p.Then.Pod.Name
		line.Node = p.Then.Node
		line.CPUs = byContainer(p.Then.Grants)
		line.Estimated = p.Then.Estimated
		line.Causes = p.Then.Causes
	}
	out.encode(line)
}

func byContainer(grants []admission.Grant) map[string]string {
	cpus := map[string]string{}
	for _, grant := range grants {
		cpus[grant.Container] = grant.CPUs.String()
	}
	return cpus
}
