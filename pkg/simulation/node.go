// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"fmt"
	"maps"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/predicates"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/verdict"
)

// Node is a node and the pods on it.
type Node struct {
	Name string
	// object is the Node; nil where it is not known. Then amounts, taints and labels do not count.
	object *corev1.Node
	report *nodereport.Report
	pods   []*Pod
	// drained reports that no pod comes to it any more.
	drained bool
	// fit are the amounts that the pods leave; nil until it is asked for, and where the object is not known.
	fit *predicates.Node
	// requested is what the pods request, in millicores.
	requested int64
	// changes counts what has changed since the beginning.
	changes int
}

// NewNode makes a node of its report, as the pods on it leave that.
func NewNode(name string, object *corev1.Node, report *nodereport.Report, pods []*Pod) *Node {
	n := &Node{Name: name, object: object, report: report, pods: slices.Clone(pods)}
	n.count()
	return n
}

// Report is the report that the node's agent would write now.
func (n *Node) Report() *nodereport.Report { return n.report }

// Pods are the pods that are on the node now.
func (n *Node) Pods() []*Pod { return slices.Clone(n.pods) }

// DropGone frees what the report has of pods that are not among the node's, and gives these. Where all pods of the cluster are
// known, they have gone: the kubelet takes their CPUs back before it admits the next pod, and its files name them until then. A static
// pod stays, since the API server may not know it.
func (n *Node) DropGone() []types.UID {
	var gone []types.UID
	for uid := range n.report.Pods() {
		there := slices.ContainsFunc(n.pods, func(pod *Pod) bool { return pod.UID == uid })
		if !there && !nodereport.StaticPod(uid) {
			gone = append(gone, uid)
		}
	}
	n.drop(gone...)
	return gone
}

// drop takes pods out of the report, with all that they hold.
func (n *Node) drop(gone ...types.UID) {
	if len(gone) == 0 || n.report.Node == nil {
		return
	}
	after := *n.report
	after.Node = n.report.Without(gone)
	after.Granted = maps.Clone(n.report.Granted)
	after.Held = maps.Clone(n.report.Held)
	for _, uid := range gone {
		delete(after.Granted, uid)
		delete(after.Held, uid)
	}
	n.report = &after
	n.changes++
}

// count adds up what the pods request.
func (n *Node) count() {
	n.changes++
	n.requested = 0
	n.fit = nil
	for _, pod := range n.pods {
		n.requested += pod.millicores()
	}
}

// amounts are what the pods leave of the node's amounts; nil where these are not known.
func (n *Node) amounts() *predicates.Node {
	if n.fit == nil && n.object != nil {
		n.fit = predicates.New(n.object)
		for _, pod := range n.pods {
			n.fit.Add(pod.Spec)
		}
	}
	return n.fit
}

// millicores are what the pod requests of CPU.
func (p *Pod) millicores() int64 {
	requests := resourcehelper.PodRequests(p.Spec, resourcehelper.PodResourcesOptions{UseStatusResources: true})
	return requests.Cpu().MilliValue()
}

// copied is the node as another one, which can be changed by itself.
func (n *Node) copied() *Node {
	another := *n
	another.pods = slices.Clone(n.pods)
	another.fit = nil
	return &another
}

// asked is what a node answers to a class of pods.
type asked struct {
	changes int // of the node, when it was asked
	fits    bool
	// estimated reports that only the count says that it fits.
	estimated bool
	rating    int64
	// why is why it does not fit, in a few words that are the same for equal causes.
	why string
}

// ask asks the node about a pod.
func (n *Node) ask(pod *Pod, strategy scoring.Strategy) asked {
	a := asked{changes: n.changes}
	a.why = n.closed(pod.Spec)
	if a.why != "" {
		return a
	}
	node := n.verdictNode()
	v := n.decide(&node, pod)
	if !v.Fits() {
		a.why = reason(&v)
		return a
	}
	amounts := n.amounts()
	if amounts != nil {
		refusal := amounts.Check(pod.Spec)
		if refusal.Reason != "" {
			a.why = refusal.Reason
			return a
		}
	}
	a.fits = true
	a.estimated = v.State != nodereport.Exact
	a.rating = scoring.Unpredicted(&v)
	if !a.estimated {
		a.rating = scoring.Rate(strategy, scoring.PlacementOf(&pod.Demand, node.Kubelet, &v.Decision, n.unrequested(node.Kubelet)))
	}
	return a
}

// decide is the verdict about a pod. Without a Node object there are no labels and no count.
func (n *Node) decide(node *verdict.Node, pod *Pod) verdict.Verdict {
	d := pod.Demand
	d.NeedsLabel = d.Dedicated && n.object != nil
	d.Estimate = d.Dedicated && n.object != nil
	return verdict.Of(node, &d)
}

// unrequested is the allocatable CPU that no pod requests.
func (n *Node) unrequested(kubelet *admission.Node) int64 {
	if n.object == nil {
		return 1000 * int64(kubelet.Free().Len())
	}
	return n.object.Status.Allocatable.Cpu().MilliValue() - n.requested
}

// closed says why a node takes no pod like this, whatever is free.
func (n *Node) closed(pod *corev1.Pod) string {
	if n.drained {
		return "drained"
	}
	if n.object == nil {
		return ""
	}
	if n.object.Spec.Unschedulable {
		return "cordoned"
	}
	keepsAway := func(taint *corev1.Taint) bool { return taint.Effect != corev1.TaintEffectPreferNoSchedule }
	missing := n.amounts().Missing(pod)
	if missing != "" {
		return "no " + string(missing)
	}
	taint, tainted := corev1helpers.FindMatchingUntoleratedTaint(logr.Discard(), n.object.Spec.Taints, pod.Spec.Tolerations, keepsAway, false)
	if tainted {
		return "taint " + taint.ToString()
	}
	return ""
}

// reason is an obstacle in a few words.
func reason(v *verdict.Verdict) string {
	switch v.Obstacle {
	case verdict.Label:
		return "no label cpumanager=true"
	case verdict.Kubelet:
		return v.Decision.Reason
	case verdict.Counted:
		return "OutOfcpu"
	case verdict.Guest:
		return "the CPUs would not satisfy the VM"
	case verdict.Manager:
		return "no CPU manager"
	}
	return fmt.Sprintf("%s: %s", v.Obstacle, v.Why)
}

// verdictNode is the node as package verdict takes it.
func (n *Node) verdictNode() verdict.Node {
	holders := make([]verdict.Pod, 0, len(n.pods))
	for _, pod := range n.pods {
		switch {
		case pod.holds:
			holders = append(holders, verdict.Pod{UID: pod.UID, Name: pod.Name})
		case pod.coming:
			holders = append(holders, verdict.Pod{UID: pod.UID, Name: pod.Name, Asks: &pod.Demand.Pod})
		}
	}
	for uid := range n.report.Pods() {
		if !slices.ContainsFunc(holders, func(h verdict.Pod) bool { return h.UID == uid }) {
			holders = append(holders, verdict.Pod{UID: uid})
		}
	}
	node := verdict.New(n.object, n.report, holders)
	node.Name = n.Name
	if n.object != nil {
		node.Amounts = verdict.Amounts{Allocatable: n.object.Status.Allocatable.Cpu().MilliValue(), Requested: n.requested, Counting: verdict.CountedAlways}
	}
	return node
}

// add puts a pod on the node, which is known to take it. It gives the CPUs that the kubelet grants.
func (n *Node) add(pod *Pod) []admission.Grant {
	node := n.verdictNode()
	v := n.decide(&node, pod)
	n.changes++
	n.pods = append(n.pods, pod)
	n.requested += pod.millicores()
	if n.fit != nil {
		n.fit.Add(pod.Spec)
	}
	if node.Kubelet == nil || v.State != nodereport.Exact {
		return nil
	}
	decision := &v.Decision
	_, kubelet := node.Kubelet.Admitting(&pod.Demand.Pod)
	after := *n.report
	after.Node = &kubelet
	after.Granted = maps.Clone(n.report.Granted)
	after.Held = maps.Clone(n.report.Held)
	if len(decision.Grants) > 0 {
		after.Granted[pod.UID] = decision.Grants
		pod.holds = true
	}
	if !decision.Held.IsEmpty() {
		if after.Held == nil {
			after.Held = map[types.UID]admission.Held{}
		}
		after.Held[pod.UID] = decision.Held
		pod.holds = true
	}
	n.report = &after
	return decision.Grants
}

// remove takes a pod away, with all that it holds.
func (n *Node) remove(pod *Pod) {
	n.pods = slices.DeleteFunc(n.pods, func(other *Pod) bool { return other == pod })
	if n.report.Has(pod.UID) {
		n.drop(pod.UID)
	}
	n.changes++
	n.requested -= pod.millicores()
	n.fit = nil
}

// room is how many more pods like one fit on the node, as long as accept takes the answer. The node is filled by it.
func (n *Node) room(pod *Pod, most int, strategy scoring.Strategy, accept func(*asked) bool) int {
	for i := range most {
		a := n.ask(pod, strategy)
		if !accept(&a) {
			return i
		}
		another := *pod
		another.UID = types.UID(fmt.Sprintf("%s/%d", pod.UID, i))
		n.add(&another)
	}
	return most
}
