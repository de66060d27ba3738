// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/placement"
)

// Obstacle is what keeps a pod off a node, in one word. "" is none.
type Obstacle string

// Obstacles, in the order in which they are looked for.
const (
	None     Obstacle = ""
	Excluded Obstacle = "excluded"   // CPUs are not the question
	Label    Obstacle = "label"      // the node has no label cpumanager=true
	Counted  Obstacle = "count"      // fewer millicores are left than the pod asks for
	Report   Obstacle = "report"     // the node's kubelet is not known
	Manager  Obstacle = "cpuManager" // the kubelet grants no exclusive CPUs
	Inexact  Obstacle = "inexact"    // the kubelet's decision cannot be predicted
	InFlight Obstacle = "inFlight"   // it depends on pods in flight; the next report shows it
	Kept     Obstacle = "kept"       // the place is kept for pods that have not come yet; no report changes that
	Kubelet  Obstacle = "kubelet"    // the kubelet would refuse the pod
	Guest    Obstacle = "guest"      // the CPUs would not satisfy the VM
	// Late is no answer of Of. The scheduler's time for asking was over.
	Late    Obstacle = "late"
	Restart Obstacle = "restart" // the kubelet, started again, would fail pods that run
)

// Verdict is what becomes of a demand on a node.
type Verdict struct {
	// Obstacle is None if the node can take the pod.
	Obstacle Obstacle
	// State is what is known of the kubelet. Where it is Inexact, that may be because of the pod. Decision is
	// set only where State is Exact and Obstacle is none before InFlight. A refusal on CPUs alone is exact even where memory or
	// devices are not known.
	State nodereport.State
	// Labelled reports whether the node is labelled.
	Labelled bool
	// Evictable reports of an obstacle whether it could vanish if pods were evicted from the node.
	Evictable bool
	// Why is the cause in words: of the obstacle, or of a State that is not Exact.
	Why string
	// Missing is how many millicores are too few, by kube-scheduler's count.
	Missing int64
	// Decision is the kubelet's, with the pods in flight admitted before.
	Decision admission.Decision
	// Besides reports of the kubelet's refusal that it is for memory or devices: CPUs alone would have been granted.
	Besides bool
	// Guest says why CPUs that the kubelet may grant do not satisfy the VM. It wraps an error of package placement, or ErrPages.
	Guest error
	// LostAtRestart is how many pods the kubelet would fail if it started again with the pod there. It is counted where
	// the demand asks for it.
	LostAtRestart int
}

// Fits reports whether the node can take the pod.
func (v *Verdict) Fits() bool { return v.Obstacle == None }

// Estimated reports whether a pod that fits does so by count only, because its kubelet cannot be predicted.
func (v *Verdict) Estimated() bool {
	return v.Obstacle == None && v.State != nodereport.Exact && v.State != nodereport.NoCPUManager
}

// Of is the verdict about a demand on a node.
func Of(n *Node, d *Demand) Verdict {
	v := Verdict{State: n.State, Labelled: n.Labelled, Why: n.Why}
	switch {
	case n.Excluded != "":
		v.Obstacle = Excluded
		v.Why = n.Excluded
		return v
	case d.NeedsLabel && !n.Labelled:
		v.Obstacle = Label
		return v
	}
	var refusal *admission.Decision
	if v.State == nodereport.Exact {
		why := n.inexact(d)
		if why != "" {
			refusal = n.refusedOnCPUs(d)
		}
		if why != "" && refusal == nil {
			v.State = nodereport.Inexact
			v.Why = why
		}
	}
	if n.counts(d, v.State) {
		v.count(n, d)
	}
	switch {
	case v.Obstacle != None:
	case refusal != nil:
		v.refuse(refusal)
	case v.State != nodereport.Exact:
		v.Obstacle = unknown(d, v.State)
	default:
		v.decide(n, d)
	}
	return v
}

// counts reports whether kube-scheduler's count decides about a node in a state.
func (n *Node) counts(d *Demand, state nodereport.State) bool {
	if n.Amounts.Counting != CountedIfEstimated {
		return n.Amounts.Counting == CountedAlways
	}
	return d.Dedicated && state != nodereport.Exact && unknown(d, state) == None
}

// count compares amounts.
func (v *Verdict) count(n *Node, d *Demand) {
	v.Missing = n.Missing(d)
	if v.Missing > 0 {
		v.Obstacle = Counted
		v.Evictable = d.Millicores() <= n.Amounts.Allocatable
	}
}

// unknown is the obstacle on a node whose kubelet cannot be asked. None means that the count decides.
func unknown(d *Demand, state nodereport.State) Obstacle {
	switch {
	case state == nodereport.Starting:
		return Report // it will be known in a moment
	case !d.Dedicated:
		return None
	case state == nodereport.Awaited:
		return Report
	case state == nodereport.NoCPUManager:
		return Manager // it is known, and the VM would not get its CPUs
	case d.Estimate:
		return None
	case state == nodereport.Inexact:
		return Inexact
	}
	return Report
}

// inexact says why the kubelet's decision cannot be predicted; "" if it can be. Pods in flight that have nothing to do with the
// demand do not count.
func (n *Node) inexact(d *Demand) string {
	if why := n.Kubelet.Inexact(d.Pod); why != "" {
		return why
	}
	for i := range n.Pods {
		pod := &n.Pods[i]
		if !pod.InFlight {
			continue
		}
		why := n.Kubelet.Inexact(*pod.Asks)
		if why != "" && slices.Contains(n.concerning(&d.Pod), pod) {
			return fmt.Sprintf("%s in flight: %s", cmp.Or(pod.Name, "a pod"), why)
		}
	}
	return ""
}

// decide asks the kubelet's rules, and then the VM.
func (v *Verdict) decide(n *Node, d *Demand) {
	var array [8]*admission.Pod
	v.Decision = admission.AdmitAfter(n.Kubelet, n.InFlight(array[:0]), &d.Pod)
	decision := &v.Decision
	if decision.Reason == admission.ReasonUndetermined {
		v.State = nodereport.Inexact
		v.Why = decision.Message
		v.Decision = admission.Decision{}
		v.Obstacle = unknown(d, v.State)
		return
	}
	if decision.Verdict == admission.Admitted || decision.Preemptible {
		shared := decision.Shared
		why := n.undecided(d, decision)
		if why != "" {
			*decision = admission.Decision{Verdict: admission.Wait, Shared: shared, Message: why}
		}
	}
	switch decision.Verdict {
	case admission.Wait:
		v.wait(n, d)
	case admission.Refused:
		v.refuse(decision)
		v.Besides = n.refusedBesides(d)
	case admission.Admitted:
		v.keepPlaces(n, d)
		if v.Obstacle == None {
			v.askGuest(n, d)
		}
		if v.Obstacle == None {
			v.askPages(n, d)
		}
		if v.Obstacle == None && d.Dedicated && d.Restart != RestartIgnored {
			v.askRestart(n, d)
		}
	}
}

// refuse takes a refusal of the kubelet.
func (v *Verdict) refuse(decision *admission.Decision) {
	v.Decision = *decision
	v.Obstacle = Kubelet
	v.Why = decision.Message
	v.Evictable = decision.Preemptible
}

// askRestart asks what a restart of the kubelet would cost.
func (v *Verdict) askRestart(n *Node, d *Demand) {
	lost, name := n.lostAtRestart(d, &v.Decision)
	v.LostAtRestart = lost
	if lost == 0 || d.Restart != RestartRequired {
		return
	}
	v.Obstacle = Restart
	v.Why = fmt.Sprintf("if its kubelet were started again with the pod there, it would fail %d pods that run, such as %s", lost, cmp.Or(name, "a pod"))
	v.Evictable = n.safeEmpty(d)
}

// safeEmpty reports whether the kubelet could be started again if the pod were alone on the node.
func (n *Node) safeEmpty(d *Demand) bool {
	empty := n.Kubelet.Empty()
	alone := Node{Kubelet: &empty}
	decision := admission.Admit(&empty, &d.Pod)
	lost, _ := alone.lostAtRestart(d, &decision)
	return lost == 0
}

// wait is for an answer that depends on pods in flight. If no report will tell more, the place is kept for them.
func (v *Verdict) wait(n *Node, d *Demand) {
	v.Why = v.Decision.Message
	v.Obstacle = InFlight
	if n.onlyKept() {
		v.Obstacle = Kept
		v.Evictable = d.fitsEmpty(n.Kubelet)
	}
}

// askGuest asks for every set of CPUs that the kubelet may grant whether it satisfies the VM. KubeVirt finds that out
// inside the launcher, after the pod is bound.
func (v *Verdict) askGuest(n *Node, d *Demand) {
	if d.Guest == nil {
		return
	}
	v.Guest = d.misfit(n.Kubelet, v.Decision.Grants)
	for _, grants := range v.Decision.Alternatives {
		if v.Guest == nil {
			v.Guest = d.misfit(n.Kubelet, grants)
		}
	}
	if v.Guest == nil {
		return
	}
	v.Obstacle = Guest
	v.Why = v.Guest.Error()
	v.Evictable = !errors.Is(v.Guest, placement.ErrTooFew) && d.fitsEmpty(n.Kubelet)
}

// keepPlaces refuses the pod if a nominated pod could find no place any more, after the pods have ended that end now.
func (v *Verdict) keepPlaces(n *Node, d *Demand) {
	if !slices.ContainsFunc(n.Pods, func(pod Pod) bool { return pod.Nominated && pod.InFlight }) {
		return
	}
	lost := n.lostPlace(n.nominatedPlaces(n.inEveryOrder()), n.nominatedPlaces(n.inEveryOrder(&d.Pod)))
	before := n.nominatedPlaces(n.inLikelyOrder(nil))
	alternatives := v.Decision.Alternatives
	if len(alternatives) == 0 {
		alternatives = [][]admission.Grant{v.Decision.Grants}
	}
	for _, grants := range alternatives {
		lost = cmp.Or(lost, n.lostPlace(before, n.nominatedPlaces(n.inLikelyOrder(grants))))
	}
	if lost != nil {
		v.Obstacle = Kept
		v.Why = fmt.Sprintf("its CPUs are kept for %s, which waits for other pods to end", cmp.Or(lost.Name, "a pod"))
		v.Evictable = d.fitsEmpty(n.Kubelet)
	}
}

// lostPlace is the first pod that has a place before and none after, nil where there is none.
func (n *Node) lostPlace(before, after []bool) *Pod {
	for i := range n.Pods {
		if before[i] && !after[i] {
			return &n.Pods[i]
		}
	}
	return nil
}

// nominatedPlaces reports which of Pods are nominated and will be admitted, one after another.
func (n *Node) nominatedPlaces(admit func(pod *admission.Pod) bool) []bool {
	placed := make([]bool, len(n.Pods))
	for i := range n.Pods {
		pod := &n.Pods[i]
		placed[i] = pod.Nominated && pod.InFlight && admit(pod.Asks)
	}
	return placed
}

// inEveryOrder returns how the kubelet admits pods after those have ended that end now. Pods in flight, and others, may come before
// or after each of these ends.
func (n *Node) inEveryOrder(others ...*admission.Pod) (admit func(pod *admission.Pod) bool) {
	var coming []*admission.Pod
	var leaving []admission.Leaving
	for i := range n.Pods {
		pod := &n.Pods[i]
		switch {
		case pod.Ending && pod.Covered():
			leaving = append(leaving, admission.Leaving{Grants: pod.Grants, Held: pod.Held})
		case pod.InFlight && !pod.Nominated && !pod.Ending:
			coming = append(coming, pod.Asks)
		}
	}
	coming = append(coming, others...)
	return func(pod *admission.Pod) bool {
		d := admission.AdmitAmong(n.Kubelet, coming, pod, leaving, make([]uint64, len(coming)))
		if d.Verdict == admission.Admitted {
			coming = append(coming, pod)
		}
		return d.Verdict == admission.Admitted
	}
}

// inLikelyOrder is inEveryOrder for one order: after the grants the pods in flight come, and then those have ended that end.
func (n *Node) inLikelyOrder(grants []admission.Grant) (admit func(pod *admission.Pod) bool) {
	node := n.Kubelet.Granting(grants)
	admit = func(pod *admission.Pod) bool {
		d, after := node.Admitting(pod)
		node = after
		return d.Verdict == admission.Admitted
	}
	for i := range n.Pods {
		pod := &n.Pods[i]
		if pod.InFlight && !pod.Nominated && !pod.Ending {
			admit(pod.Asks)
		}
	}
	for i := range n.Pods {
		if n.Pods[i].Ending {
			node = node.Releasing(n.Pods[i].Grants, &n.Pods[i].Held)
		}
	}
	return admit
}

// misfit says why grants do not satisfy the VM; nil if they do.
func (d *Demand) misfit(n *admission.Node, grants []admission.Grant) error {
	if d.Guest == nil {
		return nil
	}
	for i := range grants {
		if grants[i].Container == d.Compute {
			return placement.Fit(*d.Guest, grants[i].CPUs, n.Topology)
		}
	}
	return nil
}

// fitsEmpty reports whether the node could take the VM if no other pod were on it. If not, no eviction helps.
func (d *Demand) fitsEmpty(n *admission.Node) bool {
	empty := n.Empty()
	decision := admission.Admit(&empty, &d.Pod)
	return decision.Verdict == admission.Admitted && d.misfit(&empty, decision.Grants) == nil
}
