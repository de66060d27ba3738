package nodeview

import (
	"iter"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
)

// Prediction is what a kubelet will do with a pod, as far as that can be known. What is read for every node in every
// scheduling cycle comes first, to lie together in memory.
type Prediction struct {
	generation int64 // of the NodeInfo

	// Standing is what is known of the node; Decision and Node are set only where it is Exact.
	Standing Standing
	// Labelled tells whether the Node says by its label that the kubelet's CPU manager runs.
	Labelled bool
	// Verdict and Rating are for what a user computes from the prediction and the NodeInfo. Where the prediction is Exact
	// they are there again the next time, until the NodeInfo or the report changes; any goroutine may use them.
	Verdict atomic.Value
	Rating  Number

	// Why tells of every other standing how it came about.
	Why string
	// Decision is the kubelet's, with the pods in flight admitted before.
	Decision admission.Decision
	// Node is the node without the pods in flight and without the pod. It must not be changed.
	Node *admission.Node
}

// Number is a number that may be known.
type Number struct {
	known atomic.Bool
	value atomic.Int64
}

// Load gives the number, if it is known.
func (n *Number) Load() (value int64, known bool) {
	if !n.known.Load() {
		return 0, false
	}
	return n.value.Load(), true
}

// Store makes the number known. It must always be the same.
func (n *Number) Store(value int64) {
	n.value.Store(value)
	n.known.Store(true)
}

// Possible gives what a container of the pod may be granted where the pod is admitted: one set of CPUs, or
// one for each outcome of the orders in which the pods in flight may be admitted; nothing for a container that
// gets no exclusive CPUs.
func (p *Prediction) Possible(container string) iter.Seq[cpuset.Set] {
	return func(yield func(cpuset.Set) bool) {
		if p.Decision.Verdict != admission.Admitted || !granted(p.Decision.Grants, container, yield) {
			return
		}
		for _, grants := range p.Decision.Alternatives {
			if !granted(grants, container, yield) {
				return
			}
		}
	}
}

// granted yields what the container gets of grants, and tells whether to go on.
func granted(grants []admission.Grant, container string, yield func(cpuset.Set) bool) bool {
	for i := range grants {
		if grants[i].Container == container {
			return yield(grants[i].CPUs)
		}
	}
	return true
}

const noReport = "there is no report"

// unknown is the prediction for a Node, given by its UID, or a pod, that cannot be predicted exactly
// whatever pods are there; nil for one that may be.
func unknown(r *Report, node types.UID, demand *Demand) *Prediction {
	switch {
	case r == nil:
		return &Prediction{Standing: Missing, Why: noReport}
	case r.owner != "" && r.owner != node:
		return &Prediction{Standing: Missing, Why: "the report is of an earlier Node of that name"}
	case r.standing != Exact:
		return &Prediction{Standing: r.standing, Why: r.why}
	}
	if why := r.node.Inexact(demand.Pod); why != "" {
		return &Prediction{Standing: Inexact, Why: why}
	}
	return nil
}

// overlaid is a report laid together with the pods of a NodeInfo.
type overlaid struct {
	node     *admission.Node
	inFlight []*admission.Pod
	// gone are pods whose CPUs in the report count as free: those that have left, that is, are not in the
	// NodeInfo, and those that are in flight. Static pods never leave; see nodereport.StaticPod.
	gone []types.UID
	// unsettled tells that pods in flight may have been admitted before or after other pods left the node.
	unsettled bool
	// inexact tells why a pod in flight cannot be predicted; "" if all can.
	inexact string
}

// overlay lays an exact report together with the pods that may hold CPUs, over o, whose memory is used again.
// A pod of which the report has only some containers is in flight and what it has counts as free, so that it
// is admitted once more, as a whole.
func (o *overlaid) overlay(r *Report, pods []resident) {
	*o = overlaid{node: r.node, inFlight: o.inFlight[:0]}
	covered := 0
	for i := range pods {
		switch pod := &pods[i]; {
		case r.covers(pod.uid, pod.asks):
			covered++
			pod.reported, pod.unsettled = true, 0
		case r.node.Exclusive(pod.asks):
			o.inFlight = append(o.inFlight, pod.asks)
			o.unsettled = o.unsettled || pod.unsettled > 0
			if o.inexact == "" {
				o.inexact = r.node.Inexact(*pod.asks)
			}
		}
	}
	if covered == len(r.granted) {
		return
	}
	for uid := range r.granted {
		at := find(pods, uid)
		if at < 0 && nodereport.StaticPod(uid) {
			continue // what is not in the NodeInfo is its mirror
		}
		if at < 0 || !r.covers(uid, pods[at].asks) {
			o.gone = append(o.gone, uid)
		}
		o.unsettled = o.unsettled || at < 0 && len(o.inFlight) > 0
	}
	node := *r.node
	node.Shared = r.free(o.gone)
	o.node = &node
}

func (o *overlaid) predict(pod *admission.Pod) *Prediction {
	if o.inexact != "" {
		return &Prediction{Standing: Inexact, Why: "a pod in flight: " + o.inexact}
	}
	d := admission.AdmitAfter(o.node, o.inFlight, pod)
	if o.unsettled && (d.Verdict == admission.Admitted || d.Preemptible) {
		d = admission.Decision{Verdict: admission.Wait, Shared: d.Shared,
			Message: "the pods in flight may have been admitted before or after other pods left the node"}
	}
	return &Prediction{Standing: Exact, Decision: d, Node: o.node}
}
