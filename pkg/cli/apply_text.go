// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// progress is an event while migrations are being made, and a line of rebalance --apply -o json.
type progress struct {
	// Event is created, phase, waiting, moved, done or stopped.
	Event string `json:"event"`
	// Step is the number of the migration in the plan, VM is the VM that moves, and Migration the object's namespace and name. At
	// the end VM is the one that was to fit.
	Step      int    `json:"step,omitempty"`
	VM        string `json:"vm,omitempty"`
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
	Migration string `json:"migration,omitempty"`
	Phase     string `json:"phase,omitempty"`
	// Node and CPUs are where the VM is or fits.
	Node string            `json:"node,omitempty"`
	CPUs map[string]string `json:"cpus,omitempty"`
	// Shape is the goal, and Fit how many more VMs of it fit.
	Shape string `json:"shape,omitempty"`
	Fit   *int   `json:"fit,omitempty"`
	// Why is why it waits or was stopped, and Next the next step.
	Why  string `json:"why,omitempty"`
	Next string `json:"next,omitempty"`

	// grants are the CPUs, and planned those that were planned.
	grants, planned []admission.Grant
	// took is the time since the migration was created.
	took time.Duration
	// bound reports that the VM that was to fit is on its node.
	bound bool
	// spared is how many migrations of the plan were not needed.
	spared int
}

// event is one about the migration that is being made.
func (a *application) event(event string, name types.NamespacedName) *progress {
	m := a.migration()
	return &progress{Event: event, Step: a.step + 1, VM: m.Pod.Name, From: m.From, To: m.To, Migration: name.String()}
}

// tell writes an event at once.
func (a *application) tell(p *progress) {
	p.CPUs = byContainer(p.grants)
	switch {
	case a.asJSON:
		a.out.encode(p)
	case p.Step > 0:
		a.out.printf("%d/%d %s %s -> %s: %s\n", p.Step, len(a.plan.Migrations), p.VM, p.From, p.To, p.text())
	default:
		a.out.printf("%s\n", p.text())
	}
	a.out.flush()
}

// tellHalt writes why the migrations end before the plan does.
func (a *application) tellHalt(err error) {
	next := planAgain
	var halt *halted
	if errors.As(err, &halt) {
		next = halt.next
	}
	m := a.migration()
	a.tell(&progress{Event: "stopped", Step: a.step + 1, VM: m.Pod.Name, From: m.From, To: m.To, Why: err.Error(), Next: next})
}

// text is the event for people, without the migration that it is about.
func (p *progress) text() string {
	switch p.Event {
	case "created":
		return "migration " + p.Migration + " created"
	case "phase":
		return fmt.Sprintf("%s after %s", p.Phase, p.took.Round(time.Second))
	case "waiting":
		return "waiting: " + p.Why
	case "moved":
		text := fmt.Sprintf("it is on %s now, CPUs %s", p.Node, cpusOf(p.grants))
		if cpusOf(p.grants) != cpusOf(p.planned) {
			text += ", and not " + cpusOf(p.planned) + " as planned"
		}
		return text
	case "stopped":
		return fmt.Sprintf("stopped: %s; next: %s", p.Why, p.Next)
	}
	text := fmt.Sprintf("done: %s fits on %s now, CPUs %s", p.VM, p.Node, cpusOf(p.grants))
	switch {
	case p.bound:
		text = fmt.Sprintf("done: %s is on %s now", p.VM, p.Node)
	case p.Fit != nil:
		text = fmt.Sprintf("done: %s: %d more fit now", p.Shape, *p.Fit)
	}
	if p.spared > 0 {
		text += fmt.Sprintf("; %s of the plan not needed", migrations(p.spared))
	}
	return text
}
