// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"slices"
)

// Leaving is a pod that has left the node, and what it held there.
//
// Its kubelet may have let go of that before or after it admitted a pod in flight. It frees what a pod held when it next admits
// one, if by then the pod is not active any more. See GetActivePods in pkg/kubelet/kubelet_pods.go and removeStaleState in
// pkg/kubelet/cm/cpumanager/cpu_manager.go, v1.36.3. Only of pods that are bound after others see that it has gone is the
// order known; see package verdict.
type Leaving struct {
	Grants []Grant
	Held   Held
	// Came is set for a pod that came meanwhile, too, and that no report has shown: it is what the pod asked for. The kubelet
	// has admitted it at some time before it left, or refused it, or has never seen it. Grants and Held are empty.
	Came *Pod
}

func (l *Leaving) equal(other *Leaving) bool {
	return slices.Equal(l.Grants, other.Grants) && l.Held.Equal(&other.Held)
}

// AdmitAmong is AdmitAfter where pods leave the node beside those in flight. n still has what they hold. The new pod comes after
// all of them have left. after says of each pod in flight which of them have certainly left before it comes, by bit. All the
// pods in flight are taken for related to p.
func AdmitAmong(n *Node, inFlight []*Pod, p *Pod, leaving []Leaving, after []uint64) Decision {
	wait := n.uncertain(p, n.interestsOf(p))
	switch {
	case wait != "":
	case len(inFlight)+1+2*len(leaving) > maxOrdered:
		wait = fmt.Sprintf("%d pods are in flight to the node, and %d have left it", len(inFlight), len(leaving))
	case n.ends(p) && len(n.Ending) > maxEnding:
		wait = fmt.Sprintf("init containers of more than %d pods are about to give memory back", maxEnding)
	}
	if wait != "" {
		return Decision{Verdict: Wait, Shared: n.Shared, Message: wait}
	}
	o := newOrders(n)
	defer o.end()
	o.leaving = leaving
	o.pods = append(append(o.pods, inFlight...), p)
	o.after = append(append(o.after, after...), 1<<len(leaving)-1)
	return o.tryAll()
}

// An outcome's done has a bit for each of pods, then one for each of leaving that has left, and then one for each that has
// come.
func (o *orders) leftBit(leaving int) uint64 { return 1 << (len(o.pods) + leaving) }
func (o *orders) cameBit(leaving int) uint64 { return 1 << (len(o.pods) + len(o.leaving) + leaving) }

// ended reports whether all pods have come, and all that leave have left.
func (o *orders) ended(done uint64) bool {
	all := uint64(1)<<(len(o.pods)+len(o.leaving)) - 1
	return done&all == all
}

// left are those of leaving that have left, by bit.
func (o *orders) left(done uint64) uint64 { return done >> len(o.pods) }

// mayCome reports whether those have left that must leave before a pod.
func (o *orders) mayCome(pod int, done uint64) bool {
	return o.after == nil || o.after[pod]&^o.left(done) == 0
}

// sameAfter reports whether the same pods must leave before either of two.
func (o *orders) sameAfter(i, k int) bool { return o.after == nil || o.after[i] == o.after[k] }

// leave lets each of the pods that have not left yet leave next, or come, and goes on to the end of every order. The new pod
// comes after that. So with and without it is the same.
func (o *orders) leave(so *outcome) {
	for i := range o.leaving {
		if so.done&o.leftBit(i) != 0 {
			continue
		}
		if !o.spend(0) {
			return
		}
		next := o.follow(so)
		next.done |= o.leftBit(i)
		held := &o.leaving[i]
		if so.done&o.cameBit(i) != 0 {
			held = &so.passing[i]
			next.passing = slices.Clone(so.passing)
			next.passing[i] = Leaving{}
		}
		node := o.node.with(&so.with)
		node = node.Releasing(held.Grants, &held.Held)
		next.with = node.contents()
		next.without = next.with
		o.try(next)
		o.back()
		if held.Came != nil && o.spend(o.node.steps(held.Came)) {
			o.come(so, i)
		}
	}
}

// come lets one of the pods that leave come before.
func (o *orders) come(so *outcome, leaving int) {
	pod := o.leaving[leaving].Came
	next := o.follow(so)
	defer o.back()
	next.done |= o.cameBit(leaving)
	d := o.admit(&next.with, pod)
	if len(EndingOf(pod, d.Held.Memory)) > 0 {
		o.answer.undetermined = fmt.Sprintf("pod %s, which has left, may have given memory of its init containers back before", pod.Name)
	}
	next.without = next.with
	next.held = so.held.Union(d.Shared.Minus(so.with.shared))
	next.passing = make([]Leaving, len(o.leaving))
	copy(next.passing, so.passing)
	if d.Verdict == Admitted {
		next.passing[leaving] = Leaving{Grants: d.Grants, Held: d.Held}
	}
	o.try(next)
}
