package explain

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
)

// Explanation is what there is to say of a pod on a node.
type Explanation struct {
	Node string `json:"node"`
	// Fits tells that, as far as CPUs go, the pod can be there.
	Fits     bool     `json:"fits"`
	Obstacle Obstacle `json:"obstacle,omitempty"`
	// Estimated tells that the kubelet cannot be asked, and the count alone decides; Facts says why.
	Estimated bool `json:"estimated,omitempty"`
	// Reason is the kubelet's where it is the obstacle: TopologyAffinityError and the like.
	Reason string `json:"reason,omitempty"`
	// Grants are the CPUs that a pod which fits would get, by container; nil where that depends on pods in
	// flight, or there are none.
	Grants []admission.Grant `json:"-"`
	// Facts tells what is free, and what is missing, in a clause with numbers.
	Facts string `json:"facts,omitempty"`
	// Rule tells which rule of the kubelet stands against it; "" where Facts says it all.
	Rule string `json:"rule,omitempty"`
	// Free is what is free; nil where that is not known.
	Free []Free `json:"free,omitempty"`
	// Missing is how many CPUs are too few, at least 1, where the pod does not fit; math.MaxInt where CPUs
	// are not the question.
	Missing int `json:"-"`
	// Hints are changes after which it fits, each by itself: tried, not guessed.
	Hints []Hint `json:"hints,omitempty"`
}

// Of explains a case.
func Of(c *Case) Explanation {
	e := Outline(c)
	if !e.Fits && e.Obstacle != InFlight && e.Obstacle != Excluded {
		e.Hints = c.hints()
	}
	return e
}

// Outline is Of without the hints, and as cheap as one prediction.
func Outline(c *Case) Explanation {
	o := c.outcome()
	e := Explanation{Node: c.NodeName, Fits: o.obstacle == None, Obstacle: o.obstacle}
	if c.Node != nil && c.Node.Topology != nil && c.Node.CPUManager.Policy == cpumanager.PolicyStatic {
		e.Free = freeOf(c.Node.Topology, c.Node.Free())
	}
	if e.Fits {
		e.Grants, e.Estimated = o.decision.Grants, c.inexactly()
		if e.Estimated {
			e.Facts = "fits, " + c.estimate()
		}
		return e
	}
	e.Missing = math.MaxInt
	switch o.obstacle {
	case Label:
		e.Facts = "has no label cpumanager=true"
	case Excluded:
		e.Facts = o.why
	case Report:
		e.Facts = cmp.Or(o.why, "is not known")
	case Manager:
		e.Facts = fmt.Sprintf("its kubelet gives no CPUs of their own to anyone: CPU manager policy %s", c.Node.CPUManager.Policy)
	case Inexact:
		e.Facts = "cannot be predicted: " + o.why
	case InFlight:
		e.Facts = fmt.Sprintf("%s in flight to it, its report will tell: %s", count(len(c.inFlight()), "pod"), o.why)
	case Guest:
		e.Facts = fmt.Sprintf("its kubelet would admit the pod, with CPUs that do not do for the VM (%s): %s", o.decision.Granted(), o.why)
	case Counted:
		e.Facts, e.Missing = c.countFacts(), int((c.missing()+999)/1000)
		if c.Dedicated && c.inexactly() {
			e.Estimated = c.Estimate
			e.Facts += c.besides()
		}
	case Kubelet:
		a := c.askedAt(&o.decision)
		e.Reason, e.Free = o.decision.Reason, freeOf(a.node.Topology, a.node.Free())
		e.Facts = freeText(e.Free, a.threads()) + "; " + a.needs(&o.decision)
		e.Rule, e.Missing = a.rule(&o.decision), a.missing(&o.decision)
		if !o.decision.Preemptible {
			e.Rule = strings.TrimSpace(e.Rule + " It would not fit on the empty node either.")
		}
	}
	return e
}

// inexactly tells whether a case that fits does so without the kubelet's word.
func (c *Case) inexactly() bool {
	return c.Node == nil || c.Node.CPUManager.Policy == cpumanager.PolicyStatic && c.inexact() != ""
}

func (c *Case) uncertain() string {
	if c.Node == nil {
		return cmp.Or(c.Unknown, "is not known")
	}
	return "cannot be predicted: " + c.inexact()
}

// estimate tells of a case that fits by count what was counted, and why that is all there is to go by.
func (c *Case) estimate() string {
	counted := ""
	if c.Count != nil {
		counted = fmt.Sprintf(" (%dm of %dm CPU left, %dm asked)", c.Count.left(), c.Count.Allocatable, c.asked())
	}
	return "estimated by counting" + counted + ", since the node " + c.uncertain()
}

// besides tells of a VM for which too little is left by count that this was all there is to go by, or that more would not
// help.
func (c *Case) besides() string {
	if c.Estimate {
		return "; estimated by counting, since the node " + c.uncertain()
	}
	return "; besides, the node " + c.uncertain()
}

// countFacts tells what is left by count: "3800m of 8000m CPU left by count, of 4200m asked".
func (c *Case) countFacts() string {
	return fmt.Sprintf("%dm of %dm CPU left by count, of %dm asked", c.Count.left(), c.Count.Allocatable, c.asked())
}

// Asks is what the pod asks for: "4 CPUs of its own + 200m in the shared pool".
func (c *Case) Asks() string {
	text := count(c.Pod.PeakCPUs(), "CPU") + " of its own"
	if c.Count == nil {
		return text
	}
	if fractions := c.asked() - 1000*int64(c.Pod.PeakCPUs()); fractions > 0 {
		text += fmt.Sprintf(" + %dm in the shared pool", fractions)
	}
	return text
}

// String is the explanation in one line, with the first two hints.
func (e Explanation) String() string { return e.text(2) }

// text is the explanation in one line, with so many hints at the most.
func (e Explanation) text(hints int) string {
	text := e.Node + ": "
	if e.Fits {
		admitted := admission.Decision{Verdict: admission.Admitted, Grants: e.Grants}.String()
		return text + cmp.Or(e.Facts, strings.Replace(admitted, "admitted", "fits", 1))
	}
	text += e.Facts
	for i, hint := range e.Hints[:min(hints, len(e.Hints))] {
		separator := "; fits if "
		if i > 0 {
			separator = ", or if "
		}
		text += separator + hint.Text
	}
	return text
}

// Best sorts explanations, the fewest missing CPUs first (so those that fit, and estimated ones after the others, as the
// scheduler does; then those with hints), and gives the first few.
func Best(all []Explanation, few int) []Explanation {
	best := slices.Clone(all)
	slices.SortFunc(best, func(a, b Explanation) int {
		return cmp.Or(cmp.Compare(a.Missing, b.Missing), a.vagueness()-b.vagueness(), strings.Compare(a.Node, b.Node))
	})
	return best[:min(few, len(best))]
}

// vagueness is higher for what helps a reader less.
func (e Explanation) vagueness() int {
	rank := 0
	if e.Estimated {
		rank += 2
	}
	if len(e.Hints) == 0 {
		rank++
	}
	return rank
}

// Summary is one line about several nodes, the nearest first, for an event: never longer than limit bytes. What is
// left out for that is first the second hint of each, then the farther nodes, and then the other hints.
func Summary(head string, told []Explanation, limit int) string {
	for hints := 2; hints >= 0; hints-- {
		for n := len(told); n > 0; n-- {
			text := head
			for _, e := range told[:n] {
				text += " " + e.text(hints) + "."
			}
			if len(text) <= limit {
				return text
			}
			if hints == 2 {
				break
			}
		}
	}
	return strings.ToValidUTF8(head[:min(limit, len(head))], "")
}
