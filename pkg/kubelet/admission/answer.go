// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
)

// answer is what all orders together say of the new pod.
type answer struct {
	admitted, refused bool       // some order has this outcome for the new pod
	refusal           Decision   // its first refusal
	grants            [][]Grant  // what the orders that admit it grant it, each once
	held              Held       // what else the first of them gives it
	heldDiffers       bool       // another one gives it something else
	harmed            *Pod       // a pod in flight that would be admitted only without the new one
	undetermined      string     // why nobody can tell, in some order
	ended             bool       // some order has ended
	shared            cpuset.Set // in the shared pool after every order
}

// count adds what becomes of the new pod in some order.
func (a *answer) count(d Decision) {
	if d.Verdict != Admitted {
		if !a.refused {
			a.refusal = d
		}
		a.refused = true
		return
	}
	if !slices.ContainsFunc(a.grants, func(known []Grant) bool { return slices.Equal(known, d.Grants) }) {
		a.grants = append(a.grants, d.Grants)
	}
	if !a.admitted {
		a.held = d.Held
	}
	a.heldDiffers = a.heldDiffers || !a.held.Equal(&d.Held)
	a.admitted = true
}

// end adds the shared pool as an order leaves it.
func (a *answer) end(shared cpuset.Set) {
	if !a.ended {
		a.shared = shared
	}
	a.ended = true
	a.shared = a.shared.Intersect(shared)
}

// decision is the decision about the new pod, after every order.
func (a *answer) decision(n *Node, p *Pod) Decision {
	switch {
	case a.undetermined != "":
		return Decision{Verdict: Wait, Shared: a.shared, Message: a.undetermined}
	case !a.admitted:
		d := a.refusal
		empty := n.Empty()
		alone := empty.sound(admit(&empty, p, nil), cpuset.Set{})
		d.Preemptible = alone.Verdict == Admitted
		d.Shared = a.shared
		return d
	case a.refused:
		return Decision{Verdict: Wait, Shared: a.shared,
			Message: "in some order of admission the kubelet would refuse the pod: " + a.refusal.Message}
	case a.harmed != nil:
		return Decision{Verdict: Wait, Shared: a.shared, Message: fmt.Sprintf(
			"in some order of admission the kubelet would refuse pod %s, which is in flight, because of this one", a.harmed.Name)}
	}
	d := Decision{Verdict: Admitted, Held: a.held, Shared: a.shared}
	if a.heldDiffers {
		d.Held = Held{}
	}
	if len(a.grants) > 1 {
		d.Alternatives = a.grants
	} else {
		d.Grants = a.grants[0]
	}
	return d
}
