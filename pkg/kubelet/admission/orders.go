package admission

import (
	"fmt"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// maxInFlight is how many pods in flight AdmitAfter tries in every order. With more it says Wait.
const maxInFlight = 3

// AdmitAfter decides whether p can be bound to n while the pods inFlight are bound to it and not yet acknowledged.
// The kubelet admits pods in the order in which it hears of them. Nobody else knows that order in advance, and it
// matters: the first pod may take room that only the other one needs. So:
//
//   - Admitted: in every order p is admitted, and so is every pod in flight that would be without p. Grants are p's
//     CPUs if every order gives the same. Otherwise Grants is nil and Alternatives are all that p may get. Held is what else
//     it holds, if every order gives the same. Shared are the CPUs that are in the shared pool after every order.
//   - Refused: p is refused in every order, or admitting it would leave the kubelet in a bad state (ReasonNotFree,
//     ReasonLastShared).
//   - Wait: it depends on the order, or on which devices another pod gets, or on when an init container ends, or more than
//     three pods are in flight. Once the kubelet has acknowledged them there is an answer.
//
// Pods in flight that have nothing to do with p, by themselves or by others, change nothing and do not count.
func AdmitAfter(n *Node, inFlight []*Pod, p *Pod) Decision {
	asks := n.interestsOf(p)
	if !asks.decisive() {
		return Admit(n, p)
	}
	wait := n.uncertain(p, asks)
	var pods []*Pod
	if wait == "" {
		pods = n.concerned(inFlight, p)
		ends := n.ends(p)
		switch {
		case len(pods) == 1 && !ends:
			return n.sound(Admit(n, p), cpuset.Set{})
		case len(pods) > maxInFlight+1:
			wait = fmt.Sprintf("more than %d pods with exclusive CPUs, memory or devices are in flight to the node", maxInFlight)
		case ends && len(n.Ending) > maxEnding:
			wait = fmt.Sprintf("init containers of more than %d pods are about to give memory back", maxEnding)
		case n.ordersTooLong(pods):
			wait = fmt.Sprintf("predicting %d pods in flight to a node with %d NUMA nodes takes too long", len(pods)-1, n.numaNodes().Len())
		}
	}
	if wait != "" {
		return Decision{Verdict: Wait, Shared: n.Shared, Message: wait}
	}
	o := orders{node: n, pods: pods}
	o.begin()
	return o.decision()
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

// concerned are the pods in flight that are related to p, or to one that is, in their order, and p at the end.
func (n *Node) concerned(inFlight []*Pod, p *Pod) []*Pod {
	if len(inFlight) == 0 {
		return []*Pod{p}
	}
	is := make([]bool, len(inFlight))
	found := make([]*Pod, 0, maxInFlight+2)
	found = append(found, p)
	for i := 0; i < len(found); i++ {
		for k, other := range inFlight {
			if !is[k] && n.related(found[i], other) {
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
	return append(found, p)
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
	held              Held       // what else the first of them gives it
	heldDiffers       bool       // another one gives it something else
	harmed            *Pod       // a pod in flight that would be admitted only without the new one
	undetermined      string     // why nobody can tell, in some order
	shared            cpuset.Set // in the shared pool after every order
}

// outcome is the node after some of the pods.
type outcome struct {
	done          uint     // the pods admitted or refused so far, by index
	with, without contents // the node, and what it would be without the new pod
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
		next := outcome{done: so.done | 1<<i, with: so.with, without: so.without}
		d := o.admit(&next.with, pod)
		next.held = so.held.Union(d.Shared.Minus(so.with.shared))
		if i == last {
			o.newest = o.node.sound(d, so.held)
			o.try(&next)
			continue
		}
		alone := d
		if so.done>>last&1 == 0 {
			next.without = next.with
		} else {
			alone = o.admit(&next.without, pod)
		}
		if alone.Verdict == Admitted && d.Verdict != Admitted {
			o.harmed = pod
		}
		o.end(pod, &d, &alone, &next)
	}
}

// alike reports whether a pod in flight before pod i asks for the same and is not done either.
func (o *orders) alike(i int, done uint) bool {
	for j := range i {
		same := sameContainers(o.pods[j], o.pods[i]) && o.pods[j].Guaranteed == o.pods[i].Guaranteed &&
			o.pods[j].PodLevel == nil && o.pods[i].PodLevel == nil
		if same && done>>j&1 == 0 {
			return true
		}
	}
	return false
}

// admit admits a pod to a node with contents c, and changes c.
func (o *orders) admit(c *contents, p *Pod) Decision {
	node := o.node.with(c)
	why := node.uncertain(p, node.interestsOf(p))
	d := admit(&node, p, c)
	if d.Reason == ReasonUndetermined {
		why = d.Message
	}
	if why != "" {
		o.undetermined = why
	}
	return d
}

// count adds the outcome of one order.
func (o *orders) count(so *outcome) {
	if o.admitted+o.refused == 0 {
		o.shared = so.with.shared
	}
	o.shared = o.shared.Intersect(so.with.shared)
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
	if o.admitted == 0 {
		o.held = o.newest.Held
	}
	o.heldDiffers = o.heldDiffers || !o.held.Equal(&o.newest.Held)
	o.admitted++
}

func (o *orders) decision() Decision {
	switch {
	case o.undetermined != "":
		return Decision{Verdict: Wait, Shared: o.shared, Message: o.undetermined}
	case o.admitted == 0:
		d := o.refusal
		empty := o.node.Empty()
		alone := empty.sound(admit(&empty, o.pods[len(o.pods)-1], nil), cpuset.Set{})
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
	}
	d := Decision{Verdict: Admitted, Held: o.held, Shared: o.shared}
	if o.heldDiffers {
		d.Held = Held{}
	}
	if len(o.grants) > 1 {
		d.Alternatives = o.grants
	} else {
		d.Grants = o.grants[0]
	}
	return d
}
