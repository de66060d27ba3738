// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/verdict"
)

// Explanation is what there is to say of a pod on a node.
type Explanation struct {
	Node string `json:"node"`
	// Fits reports whether the pod can be there, as far as CPUs go.
	Fits     bool             `json:"fits"`
	Obstacle verdict.Obstacle `json:"obstacle,omitempty"`
	// Estimated reports that the kubelet cannot be asked and the count alone decides. Facts says why.
	Estimated bool `json:"estimated,omitempty"`
	// Reason is the kubelet's where it is the obstacle: TopologyAffinityError and the like.
	Reason string `json:"reason,omitempty"`
	// Grants are the CPUs that a pod which fits would get, by container; nil where that depends on pods in
	// flight, or there are none.
	Grants []admission.Grant `json:"-"`
	// Facts says what is free and what is missing, in a clause with numbers.
	Facts string `json:"facts,omitempty"`
	// Rule is the kubelet's rule that it breaks; "" where Facts says it all.
	Rule string `json:"rule,omitempty"`
	// Free is what is free; nil where that is not known.
	Free []Free `json:"free,omitempty"`
	// RoomByCount reports of a refused node that it has room by kube-scheduler's count: see AutoscalerNote.
	RoomByCount bool `json:"roomByCount,omitempty"`
	// Missing is how many CPUs are too few, at least 1, where the pod does not fit; math.MaxInt where CPUs
	// are not the question.
	Missing int `json:"-"`
	// Hints are changes after which it fits, each by itself: tried, not guessed.
	Hints []Hint `json:"hints,omitempty"`
}

// Of explains what becomes of a demand on a node.
func Of(n *verdict.Node, d *verdict.Demand) Explanation {
	q := &question{node: *n, demand: *d}
	e := q.outline()
	if !e.Fits && e.Obstacle != verdict.InFlight && e.Obstacle != verdict.Excluded {
		e.Hints = q.hints()
	}
	return e
}

// Outline is Of without the hints, and as cheap as one verdict.
func Outline(n *verdict.Node, d *verdict.Demand) Explanation {
	return (&question{node: *n, demand: *d}).outline()
}

func (q *question) outline() Explanation {
	v := q.verdict()
	e := Explanation{Node: q.node.Name, Fits: v.Fits(), Obstacle: v.Obstacle, Estimated: v.Estimated()}
	kubelet := q.node.Kubelet
	if kubelet != nil && kubelet.Topology != nil && kubelet.CPUManager.Policy == cpumanager.PolicyStatic {
		e.Free = freeOf(kubelet.Topology, kubelet.Free())
	}
	if e.Fits {
		e.Grants = v.Decision.Grants
		if e.Estimated {
			e.Facts = "fits, " + q.estimate(&v)
		}
		return e
	}
	q.obstacle(&e, &v)
	e.RoomByCount = q.roomByCount(&v)
	return e
}

// obstacle says what keeps the pod off the node.
func (q *question) obstacle(e *Explanation, v *verdict.Verdict) {
	e.Missing = math.MaxInt
	switch v.Obstacle {
	case verdict.Label:
		e.Facts = "has no label cpumanager=true"
	case verdict.Excluded:
		e.Facts = v.Why
	case verdict.Report, verdict.Inexact:
		e.Facts = uncertain(v, v.Why)
	case verdict.Manager:
		e.Facts = fmt.Sprintf("its kubelet grants no exclusive CPUs: its CPU manager policy is %s", q.node.Kubelet.CPUManager.Policy)
	case verdict.InFlight:
		e.Facts = fmt.Sprintf("%s in flight to it, the next report will show: %s", q.pods((*verdict.Pod).Awaited), v.Why)
	case verdict.Kept:
		e.Facts = fmt.Sprintf("its CPUs are kept for %s still to come: %s",
			q.pods(func(pod *verdict.Pod) bool { return pod.InFlight && pod.Kept }), v.Why)
	case verdict.Guest:
		e.Facts = fmt.Sprintf("its kubelet would admit the pod, but the granted CPUs (%s) do not satisfy the VM: %s", v.Decision.Granted(), v.Why)
	case verdict.Restart:
		e.Facts = "its kubelet would admit the pod, but " + v.Why
		e.Missing = 1
	case verdict.Counted:
		e.Facts = q.counted()
		e.Missing = int((v.Missing + 999) / 1000)
		why := uncertain(v, v.Why)
		if q.demand.Dedicated && why != "" {
			e.Estimated = q.demand.Estimate
			e.Facts += alsoUncertain(e.Estimated, why)
		}
	case verdict.Kubelet:
		q.refusal(e, &v.Decision)
	}
}

// refusal says what the kubelet lacks.
func (q *question) refusal(e *Explanation, d *admission.Decision) {
	a := q.askedAt(d)
	e.Reason = d.Reason
	e.Free = freeOf(a.node.Topology, a.node.Free())
	e.Facts = freeText(e.Free, a.threads()) + "; " + a.needs(d)
	e.Rule = a.rule(d)
	e.Missing = a.missing(d)
	besides := q.besides()
	if besides != "" {
		e.Facts = besides
		e.Rule = ""
	}
	if !d.Preemptible {
		e.Rule = strings.TrimSpace(e.Rule + " It would not fit on the empty node either.")
	}
}

// estimate says of a pod that fits by count what was counted, and why nothing else could be asked.
func (q *question) estimate(v *verdict.Verdict) string {
	counted := ""
	a := q.node.Amounts
	if a.Counting != verdict.NotCounted {
		counted = fmt.Sprintf(" (%dm of %dm CPU left, %dm asked)", left(a), a.Allocatable, q.demand.Millicores())
	}
	return "estimated by counting" + counted + ", since the node " + uncertain(v, v.Why)
}

// alsoUncertain says of a VM for which too little is left by count that nothing else could be asked, or that more would not
// help.
func alsoUncertain(estimated bool, why string) string {
	if estimated {
		return "; estimated by counting, since the node " + why
	}
	return "; besides, the node " + why
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
