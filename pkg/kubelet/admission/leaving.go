package admission

import "fmt"

// Leaving is a pod that has left the node, and what it held there.
//
// Its kubelet may have let go of that before or after it admitted a pod in flight: it frees what a pod held when it next admits
// one, if by then the pod is not active any more (GetActivePods in pkg/kubelet/kubelet_pods.go, removeStaleState in
// pkg/kubelet/cm/cpumanager/cpu_manager.go, v1.36.3). Only of pods that are bound after others see that it has gone is the
// order known; see package verdict.
type Leaving struct {
	Grants []Grant
	Held   Held
}

// AdmitAmong is AdmitAfter where pods leave the node beside those in flight. n still has what they hold. The new pod comes after
// all of them have left. after says of each pod in flight which of them have certainly left before it comes, by bit. All the
// pods in flight are taken for related to p.
func AdmitAmong(n *Node, inFlight []*Pod, p *Pod, leaving []Leaving, after []uint64) Decision {
	wait := n.uncertain(p, n.interestsOf(p))
	switch {
	case wait != "":
	case len(inFlight)+1+len(leaving) > maxOrdered:
		wait = fmt.Sprintf("%d pods are in flight to the node, and %d have left it", len(inFlight), len(leaving))
	case n.ends(p) && len(n.Ending) > maxEnding:
		wait = fmt.Sprintf("init containers of more than %d pods are about to give memory back", maxEnding)
	}
	if wait != "" {
		return Decision{Verdict: Wait, Shared: n.Shared, Message: wait}
	}
	o := orders{node: n, leaving: leaving}
	o.pods = append(append(o.pods, inFlight...), p)
	o.after = append(append(o.after, after...), 1<<len(leaving)-1)
	return o.tryAll()
}

// left are those of leaving that have left, by bit.
func (o *orders) left(done uint64) uint64 { return done >> len(o.pods) }

// mayCome reports whether those have left that must leave before a pod.
func (o *orders) mayCome(pod int, done uint64) bool {
	return o.after == nil || o.after[pod]&^o.left(done) == 0
}

// sameAfter reports whether the same pods must leave before either of two.
func (o *orders) sameAfter(i, k int) bool { return o.after == nil || o.after[i] == o.after[k] }

// leave lets each of the pods that have not left yet leave next, and goes on to the end of every order.
func (o *orders) leave(so *outcome) {
	for i := range o.leaving {
		bit := uint64(1) << (len(o.pods) + i)
		if so.done&bit != 0 {
			continue
		}
		next := *so
		next.done |= bit
		next.with = o.without(&so.with, i)
		next.without = o.without(&so.without, i)
		o.try(&next)
	}
}

// without is the contents after one of leaving has left.
func (o *orders) without(c *contents, leaving int) contents {
	node := o.node.with(c)
	node = node.Releasing(o.leaving[leaving].Grants, &o.leaving[leaving].Held)
	return node.contents()
}
