// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"math/bits"
	"slices"
	"sync"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// maxAdmissions, with maxSteps, bounds what AdmitAfter tries, and maxOrdered the pods. Beyond them it says Wait.
const (
	maxAdmissions = 4096
	maxOrdered    = 64 // bits of outcome.done
)

// AdmitAfter decides whether p can be bound to n while the pods inFlight are bound to it and not yet acknowledged.
// The kubelet admits pods in the order in which it hears of them. Nobody else knows that order in advance, and it
// matters: the first pod may take room that only the other one needs. So:
//
//   - Admitted: in every order p is admitted, and so is every pod in flight that would be without p. Grants are p's
//     CPUs if every order gives the same. Otherwise Grants is nil and Alternatives are all that p may get. Held is what else
//     it holds, if every order gives the same. Shared are the CPUs that are in the shared pool after every order.
//   - Refused: p is refused in every order, or admitting it would leave the kubelet in a bad state (ReasonNotFree,
//     ReasonLastShared).
//   - Wait: it depends on the order, or on which devices another pod gets, or on when an init container ends, or the orders
//     are too many to try. Once the kubelet has acknowledged the pods there is an answer.
//
// Of pods that ask alike the order does not matter, and two orders that leave the node alike are followed once. So the number of
// different demands decides what an answer costs, and not the number of pods.
//
// Pods in flight that have nothing to do with p, by themselves or by others, change nothing and do not count.
func AdmitAfter(n *Node, inFlight []*Pod, p *Pod) Decision {
	asks := n.interestsOf(p)
	if !asks.decisive() {
		return Admit(n, p)
	}
	wait := n.uncertain(p, asks)
	ends := n.ends(p)
	if wait == "" && len(inFlight) == 0 && !ends { // As nearly always: nothing is allocated for it.
		return n.sound(Admit(n, p), cpuset.Set{})
	}
	o := newOrders(n)
	defer o.end()
	if wait == "" {
		o.concern(inFlight, p)
		switch {
		case len(o.pods) == 1 && !ends:
			return n.sound(Admit(n, p), cpuset.Set{})
		case len(o.pods) > maxOrdered:
			wait = fmt.Sprintf("more than %d pods with exclusive CPUs, memory or devices are in flight to the node", maxOrdered-1)
		case ends && len(n.Ending) > maxEnding:
			wait = fmt.Sprintf("init containers of more than %d pods are about to give memory back", maxEnding)
		}
	}
	if wait != "" {
		return Decision{Verdict: Wait, Shared: n.Shared, Message: wait}
	}
	return o.tryAll()
}

// uncertain says what of the node's contents that matter to p is not certain, or "".
func (n *Node) uncertain(p *Pod, asks interests) string {
	if asks.memory && n.Memory.Torn {
		return "the kubelet is changing the memory manager's state"
	}
	if !asks.aligned || n.TopologyManager.Policy == topologymanager.PolicyNone { // Then only the sum of devices counts.
		return ""
	}
	for i := range n.Devices.Resources {
		r := &n.Devices.Resources[i]
		if r.Unsure && p.mentions(r.Name) {
			return "only the kubelet knows which devices of " + r.Name + " are free until the next report"
		}
	}
	return ""
}

// concern sets pods: those in flight that are related to p, or to one that is, in their order, and p at the end.
func (o *orders) concern(inFlight []*Pod, p *Pod) {
	is := slices.Grow(o.is[:0], len(inFlight))[:len(inFlight)]
	clear(is)
	found := append(o.pods[:0], p)
	for i := 0; i < len(found); i++ {
		for k, other := range inFlight {
			if !is[k] && o.node.related(found[i], other) {
				is[k] = true
				found = append(found, other)
			}
		}
	}
	found = found[:0]
	for k, other := range inFlight {
		if is[k] {
			found = append(found, other)
		}
	}
	o.is = is
	o.pods = append(found, p)
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
	node  *Node
	pods  []*Pod
	asks  []*Pod // for each of pods, the first one that asks alike
	steps []int  // that it takes to admit each of pods
	// leaving are pods that leave the node meanwhile, and after says of each of pods which of these must leave before, by
	// bit. Both are empty where nobody leaves.
	leaving []Leaving
	after   []uint64
	seen    seen
	memo    memo
	answer  answer

	// admissions were tried so far, and took so many steps. tooLong is set if that is too many.
	admissions, spent int
	tooLong           bool

	// is and outcomes are scratch: which pods in flight are concerned, and the outcomes on the way to the present one. There are
	// depth outcomes on the way.
	is       []bool
	outcomes []*outcome
	depth    int
}

// ordersPool keeps orders for reuse. A scheduler asks thousands of times a second, mostly with a pod or two in flight.
var ordersPool = sync.Pool{New: func() any { return new(orders) }}

// newOrders begins to decide. The caller gives it back with end, and keeps nothing of it but the decision.
func newOrders(n *Node) *orders {
	o := ordersPool.Get().(*orders)
	o.node = n
	return o
}

func (o *orders) end() {
	clear(o.pods)
	clear(o.asks)
	o.memo.end()
	o.seen.end()
	for _, so := range o.outcomes {
		*so = outcome{}
	}
	*o = orders{pods: o.pods[:0], asks: o.asks[:0], steps: o.steps[:0], is: o.is, memo: o.memo, seen: o.seen, outcomes: o.outcomes}
	ordersPool.Put(o)
}

// follow is a copy of an outcome, to go on from. It is lost at the next call of back.
func (o *orders) follow(so *outcome) *outcome {
	if o.depth == len(o.outcomes) {
		o.outcomes = append(o.outcomes, new(outcome))
	}
	next := o.outcomes[o.depth]
	o.depth++
	*next = *so
	return next
}

// back takes the last follow back.
func (o *orders) back() { o.depth-- }

// outcome is the node after some of the pods.
type outcome struct {
	done          uint64   // the pods admitted or refused so far, by index, and then those that have left
	with, without contents // the node, and what it would be without the new pod
	// held are CPUs of with that a container holds: a refused pod had got them too, and gave them back.
	held cpuset.Set
	// passing are those of leaving that have come and not left yet: what they hold. It is nil where there are none.
	passing []Leaving
}

// tryAll is the decision after every order.
func (o *orders) tryAll() Decision {
	for _, pod := range o.pods {
		first := slices.IndexFunc(o.pods, func(other *Pod) bool { return alike(other, pod) })
		o.asks = append(o.asks, o.pods[first])
		o.steps = append(o.steps, o.node.steps(pod))
	}
	o.begin()
	if o.tooLong {
		return Decision{Verdict: Wait, Shared: o.node.Shared, Message: fmt.Sprintf(
			"%d pods are in flight to a node with %d NUMA nodes, and to try the orders of admission takes too long", len(o.pods)-1, o.node.numaNodes().Len())}
	}
	return o.answer.decision(o.node, o.pods[len(o.pods)-1])
}

// try admits each of the pods not done next, and so on to the end of every order.
func (o *orders) try(so *outcome) {
	if o.tooLong {
		return
	}
	if o.ended(so.done) {
		o.answer.end(so.with.shared)
		return
	}
	// Only one order leads to an outcome after one pod.
	if bits.OnesCount64(so.done) > 1 && o.seen.before(so) {
		return
	}
	o.leave(so)
	last := len(o.pods) - 1
	for i := range o.pods {
		if so.done>>i&1 != 0 || !o.mayCome(i, so.done) || i < last && o.behind(i, so.done) {
			continue
		}
		if !o.affords(i) {
			return
		}
		next := o.follow(so)
		next.done |= 1 << i
		o.next(so, next, i)
		o.back()
	}
}

// next admits a pod to next, which is so with the pod done, and goes on.
func (o *orders) next(so, next *outcome, i int) {
	pod := o.pods[i]
	last := len(o.pods) - 1
	d := o.admit(&next.with, o.asks[i])
	next.held = so.held.Union(d.Shared.Minus(so.with.shared))
	if i == last {
		o.answer.count(o.node.sound(d, so.held))
		o.try(next)
		return
	}
	alone := d
	if so.done>>last&1 == 0 {
		next.without = next.with
	} else if o.affords(i) {
		alone = o.admit(&next.without, o.asks[i])
	}
	if alone.Verdict == Admitted && d.Verdict != Admitted {
		o.answer.harmed = pod
	}
	o.giveBack(pod, &d, &alone, next)
}

// affords counts one more admission of a pod. It reports false if that is too many.
func (o *orders) affords(pod int) bool { return o.spend(o.steps[pod]) }

// spend counts one more step of an order, and what it costs. It reports false if that is too much.
func (o *orders) spend(steps int) bool {
	o.admissions++
	o.spent += steps
	o.tooLong = o.tooLong || o.spent > maxSteps || o.admissions > maxAdmissions
	return !o.tooLong
}

// behind reports whether a pod in flight before pod i asks for the same and is not done either.
func (o *orders) behind(i int, done uint64) bool {
	for j := range i {
		if done>>j&1 == 0 && o.sameAfter(j, i) && o.asks[j] == o.asks[i] {
			return true
		}
	}
	return false
}

// admit admits a pod to a node with contents c, and changes c.
func (o *orders) admit(c *contents, p *Pod) Decision {
	t := o.memo.admit(o.node, c, p)
	if t.undetermined != "" {
		o.answer.undetermined = t.undetermined
	}
	*c = t.after
	return t.decision
}
