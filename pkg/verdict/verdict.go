package verdict

import (
	"cmp"
	"errors"
	"fmt"

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
	Kubelet  Obstacle = "kubelet"    // the kubelet would refuse the pod
	Guest    Obstacle = "guest"      // the CPUs would not satisfy the VM
	// Late is no answer of Of. The scheduler's time for asking was over.
	Late Obstacle = "late"
)

// Verdict is what becomes of a demand on a node.
type Verdict struct {
	// Obstacle is None if the node can take the pod.
	Obstacle Obstacle
	// State is what is known of the kubelet. Where it is Inexact, that may be because of the pod. Decision is
	// set only where State is Exact and Obstacle is none before InFlight.
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
	// Guest says why CPUs that the kubelet may grant do not satisfy the VM. It wraps an error of package placement.
	Guest error
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
	if v.State == nodereport.Exact {
		why := n.inexact(d)
		if why != "" {
			v.State = nodereport.Inexact
			v.Why = why
		}
	}
	if n.counts(d, v.State) {
		v.count(n, d)
	}
	switch {
	case v.Obstacle != None:
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
	case state == nodereport.NoCPUManager:
		return Manager // it is known, and the VM would not get its CPUs
	case d.Estimate:
		return None
	case state == nodereport.Inexact:
		return Inexact
	}
	return Report
}

// inexact says why the kubelet's decision cannot be predicted; "" if it can be.
func (n *Node) inexact(d *Demand) string {
	if why := n.Kubelet.Inexact(d.Pod); why != "" {
		return why
	}
	for i := range n.Pods {
		pod := &n.Pods[i]
		if !pod.InFlight {
			continue
		}
		if why := n.Kubelet.Inexact(*pod.Asks); why != "" {
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
	if n.open() && (decision.Verdict == admission.Admitted || decision.Preemptible) {
		*decision = admission.Decision{Verdict: admission.Wait, Shared: decision.Shared,
			Message: "the pods in flight may have been admitted before or after other pods left the node"}
	}
	switch decision.Verdict {
	case admission.Wait:
		v.Obstacle = InFlight
		v.Why = decision.Message
	case admission.Refused:
		v.Obstacle = Kubelet
		v.Why = decision.Message
		v.Evictable = decision.Preemptible
	case admission.Admitted:
		v.askGuest(n, d)
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

// misfit says why grants do not satisfy the VM; nil if they do.
func (d *Demand) misfit(n *admission.Node, grants []admission.Grant) error {
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
