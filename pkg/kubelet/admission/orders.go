package admission

import (
	"fmt"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
)

// maxInFlight is how many pods in flight AdmitAfter tries in every order. With more it says Wait.
const maxInFlight = 3

// AdmitAfter decides whether p can be bound to n while the pods inFlight are bound to it and not yet acknowledged.
// The kubelet admits pods in the order in which it hears of them. Nobody else knows that order in advance, and it
// matters: the first pod may take room that only the other one needs. So:
//
//   - Admitted: in every order p is admitted, and so is every pod in flight that would be without p. Grants are p's
//     CPUs if every order gives the same. Otherwise Grants is nil and Alternatives are all that p may get. Shared are
//     the CPUs that are in the shared pool after every order.
//   - Refused: p is refused in every order, or admitting it would leave the kubelet in a bad state (ReasonNotFree,
//     ReasonLastShared).
//   - Wait: it depends on the order, or more than three pods are in flight. Once the kubelet has acknowledged them
//     there is an answer.
//
// Pods in flight that ask for no exclusive CPUs change nothing and do not count.
func AdmitAfter(n *Node, inFlight []*Pod, p *Pod) Decision {
	pods := make([]*Pod, 0, maxInFlight+1)
	for _, pod := range inFlight {
		if !n.Exclusive(pod) {
			continue
		}
		if len(pods) == maxInFlight {
			return Decision{Verdict: Wait, Shared: n.Shared,
				Message: fmt.Sprintf("more than %d pods with exclusive CPUs are in flight to the node", maxInFlight)}
		}
		pods = append(pods, pod)
	}
	if len(pods) == 0 {
		return n.sound(Admit(n, p), cpuset.Set{})
	}
	if !n.Exclusive(p) {
		return Admit(n, p)
	}
	pods = append(pods, p)
	if n.ordersTooLong(pods) {
		return Decision{Verdict: Wait, Shared: n.Shared,
			Message: fmt.Sprintf("predicting %d pods in flight to a node with %d NUMA nodes takes too long", len(pods)-1, n.numaNodes().Len())}
	}
	o := orders{node: n, pods: pods}
	o.try(&outcome{with: n.Shared, without: n.Shared})
	return o.decision()
}

// sound turns an admission after which the kubelet is in a bad state into a refusal. held are CPUs in the shared pool
// that a container holds.
func (n *Node) sound(d Decision, held cpuset.Set) Decision {
	taken := d.Granted()
	notFree := d.NotFree.Union(taken.Intersect(held))
	refusal := Decision{Verdict: Refused, Shared: d.Shared, Preemptible: true}
	switch {
	case d.Verdict != Admitted || taken.IsEmpty():
		return d
	case !notFree.IsEmpty():
		refusal.Reason = ReasonNotFree
		refusal.Message = fmt.Sprintf("the kubelet would grant CPUs %s, which are held by others or reserved", notFree)
	case n.CPUManager.Options.StrictCPUReservation && d.Shared.IsEmpty():
		refusal.Reason = ReasonLastShared
		refusal.Message = fmt.Sprintf("the kubelet would grant CPUs %s, with which the shared pool is empty; "+
			"a kubelet with strict-cpu-reservation cannot start again then", taken)
	default:
		return d
	}
	return refusal
}

// orders goes through the orders in which the pods can be admitted. The last of pods is the new one. Of pods in
// flight that ask for the same, only one order is tried: the others would end alike.
type orders struct {
	node *Node
	pods []*Pod

	newest            Decision   // the new pod's, in the order being tried
	admitted, refused int        // orders with this outcome for the new pod
	refusal           Decision   // its first refusal
	grants            [][]Grant  // what the orders that admit it grant it, each once
	harmed            *Pod       // a pod in flight that would be admitted only without the new one
	shared            cpuset.Set // in the shared pool after every order
}

// outcome is the node after some of the pods.
type outcome struct {
	done          uint       // the pods admitted or refused so far, by index
	with, without cpuset.Set // the shared pool, and what it would be without the new pod
	// held are CPUs of with that a container holds: a refused pod had got them too, and gave them back.
	held cpuset.Set
}

// try admits each of the pods not done next, and so on to the end of every order.
func (o *orders) try(so *outcome) {
	last := len(o.pods) - 1
	if so.done == 1<<len(o.pods)-1 {
		o.count(so)
		return
	}
	for i, pod := range o.pods {
		if so.done>>i&1 != 0 || i < last && o.alike(i, so.done) {
			continue
		}
		d := o.admit(so.with, pod)
		next := outcome{done: so.done | 1<<i, with: d.Shared, without: so.without, held: so.held.Union(d.Shared.Minus(so.with))}
		switch {
		case i == last:
			o.newest = o.node.sound(d, so.held)
		case so.done>>last&1 == 0:
			next.without = d.Shared
		default:
			alone := o.admit(so.without, pod)
			next.without = alone.Shared
			if alone.Verdict == Admitted && d.Verdict != Admitted {
				o.harmed = pod
			}
		}
		o.try(&next)
	}
}

// alike reports whether a pod in flight before pod i asks for the same and is not done either.
func (o *orders) alike(i int, done uint) bool {
	for j := range i {
		same := slices.Equal(o.pods[j].Containers, o.pods[i].Containers) && o.pods[j].PodLevel == nil && o.pods[i].PodLevel == nil
		if same && done>>j&1 == 0 {
			return true
		}
	}
	return false
}

func (o *orders) admit(shared cpuset.Set, p *Pod) Decision {
	node := *o.node
	node.Shared = shared
	return admit(&node, p)
}

// count adds the outcome of one order.
func (o *orders) count(so *outcome) {
	if o.admitted+o.refused == 0 {
		o.shared = so.with
	}
	o.shared = o.shared.Intersect(so.with)
	if o.newest.Verdict != Admitted {
		if o.refused == 0 {
			o.refusal = o.newest
		}
		o.refused++
		return
	}
	if !slices.ContainsFunc(o.grants, func(known []Grant) bool { return slices.Equal(known, o.newest.Grants) }) {
		o.grants = append(o.grants, o.newest.Grants)
	}
	o.admitted++
}

func (o *orders) decision() Decision {
	switch {
	case o.admitted == 0:
		d := o.refusal
		empty := o.node.Empty()
		alone := empty.sound(admit(&empty, o.pods[len(o.pods)-1]), cpuset.Set{})
		d.Preemptible = alone.Verdict == Admitted
		d.Shared = o.shared
		return d
	case o.refused > 0:
		return Decision{Verdict: Wait, Shared: o.shared, Message: fmt.Sprintf(
			"in %d of %d orders of admission the kubelet would refuse the pod: %s",
			o.refused, o.refused+o.admitted, o.refusal.Message)}
	case o.harmed != nil:
		return Decision{Verdict: Wait, Shared: o.shared, Message: fmt.Sprintf(
			"in some order of admission the kubelet would refuse pod %s, which is in flight, because of this one", o.harmed.Name)}
	case len(o.grants) > 1:
		return Decision{Verdict: Admitted, Alternatives: o.grants, Shared: o.shared}
	}
	return Decision{Verdict: Admitted, Grants: o.grants[0], Shared: o.shared}
}
