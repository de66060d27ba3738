// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/nodereport"
)

// Node is one node, as a pod that needs a node finds it. New makes one from objects. Of only reads it.
type Node struct {
	Name string
	// Excluded says why the node cannot take the pod, however many CPUs it has, in a clause such as
	// "has taint x". It is empty if nothing but CPUs is in question.
	Excluded string
	// Labelled reports whether the node's labels say that the kubelet's CPU manager runs.
	Labelled bool
	// Amounts is kube-scheduler's count of the node's CPU.
	Amounts Amounts

	// State is what is known of the node's kubelet, and Why the cause of every State but Exact.
	State nodereport.State
	Why   string
	// Kubelet is the node without the pods in flight and without the new pod. It is nil where no report
	// could be read. It must not be changed.
	Kubelet *admission.Node
	// Reported is the node while the pods in Left still hold what the report says; nil where Kubelet is.
	Reported *admission.Node
	// HugePages are the kernel's; nil where they are not known.
	HugePages nodereport.HugePages
	// Pods are the pods on the node that may hold exclusive CPUs.
	Pods []Pod
	// Gone are granted pods that are no longer on the node, and pods of which the report has only some
	// containers. Their CPUs count as free.
	Gone []types.UID
	// Left are the granted pods that are no longer on the node. While others are in flight, it may not be known in
	// which order the kubelet saw that.
	Left []Leaver
}

// Leaver is a granted pod that is no longer on its node.
type Leaver struct {
	UID types.UID
	admission.Leaving
}

// Amounts is kube-scheduler's count of a node's CPU, in millicores.
type Amounts struct {
	Allocatable, Requested int64
	Counting               Counting
}

// Counting says on which nodes the count decides.
type Counting uint8

const (
	// NotCounted: the amounts are not known.
	NotCounted Counting = iota
	// CountedIfEstimated: the count decides about dedicated VMs whose kubelet cannot be predicted. In the
	// scheduler, plugin NodeResourcesFit counts for all others.
	CountedIfEstimated
	// CountedAlways: the count decides on every node.
	CountedAlways
)

// The labels that say that a node's CPU manager runs: the one of corepin and of KubeVirt before v1.8, and the one
// of KubeVirt today.
const (
	LabelCPUManager         = "cpumanager"
	LabelKubeVirtCPUManager = "kubevirt.io/cpumanager"
)

// Labelled reports whether a node has one of the labels with the value "true".
func Labelled(node *corev1.Node) bool {
	return node.Labels[LabelCPUManager] == "true" || node.Labels[LabelKubeVirtCPUManager] == "true"
}

// New is the node of a Node object and its report, with pods that may hold exclusive CPUs there. The object may be nil.
// A granted pod that is not among pods has left the node. New sets Grants and InFlight of pods and keeps the slice.
func New(object *corev1.Node, report *nodereport.Report, pods []Pod) Node {
	n := reported(object, report)
	if n.State == nodereport.Exact || n.State == nodereport.NoCPUManager {
		n.apply(report, pods)
	}
	return n
}

// BestCase is the node if it had no pods in flight, and the granted pods in gone had left. Kubelet is set whenever the
// report could be read.
func BestCase(object *corev1.Node, report *nodereport.Report, gone []types.UID) Node {
	n := reported(object, report)
	if n.State != nodereport.Replaced && n.State != nodereport.Contradicted && report.Node != nil {
		n.Kubelet = report.Without(gone)
		n.Gone = gone
	}
	return n
}

// reported is what the Node object and the report say without any pods.
func reported(object *corev1.Node, report *nodereport.Report) Node {
	n := Node{State: report.State, Why: report.Why, HugePages: report.HugePages}
	if object == nil {
		return n
	}
	n.Name = object.Name
	n.Labelled = Labelled(object)
	if report.Owner != "" && object.UID != "" && report.Owner != object.UID {
		n.State = nodereport.Replaced
		n.Why = "the report is of an earlier Node of that name"
		return n
	}
	if n.State == nodereport.Silent {
		return n // that the report is old is known
	}
	why := report.Contradiction(object)
	if why != "" {
		n.State = nodereport.Contradicted
		n.Why = why
	}
	return n
}

// apply sets what the report and the pods say together. A pod of which the report has only a part is in flight. What it
// has counts as free, since the kubelet is going to come to the same end as for the pod as a whole.
func (n *Node) apply(r *nodereport.Report, pods []Pod) {
	n.Kubelet = r.Node
	n.Reported = r.Node
	n.Pods = pods
	covered := 0
	for i := range pods {
		pod := &pods[i]
		pod.Grants = nil
		pod.Held = admission.Held{}
		pod.InFlight = false
		switch {
		case pod.Asks == nil, Covers(r, pod.UID, pod.Asks):
			pod.Grants = r.Granted[pod.UID]
			pod.Held = r.Held[pod.UID]
			pod.Doubtful = false
			pod.Beside = nil
			pod.Kept = false
			covered++
		case r.Node.Decides(pod.Asks):
			pod.InFlight = true
		}
	}
	if covered < max(len(r.Granted), len(r.Held)) || len(r.Held) > 0 {
		n.free(r)
	}
	if len(n.Left) > 0 {
		n.followLeft()
	}
	n.findEnding()
}

// followLeft says of the pods that are not bound yet that they come after all that have left.
func (n *Node) followLeft() {
	left := n.LeftUIDs()
	for i := range n.Pods {
		if n.Pods[i].Unbound {
			n.Pods[i].After = left
		}
	}
}

// findEnding finds the memory that init containers are about to give back.
func (n *Node) findEnding() {
	var ending [][]memorymanager.Held
	for i := range n.Pods {
		pod := &n.Pods[i]
		if pod.Asks == nil || len(pod.Held.Memory) == 0 {
			continue
		}
		ends := admission.EndingOf(pod.Asks, pod.Held.Memory)
		if len(ends) > 0 {
			ending = append(ending, ends)
		}
	}
	if len(ending) > 0 {
		kubelet := *n.Kubelet
		kubelet.Ending = ending
		n.Kubelet = &kubelet
	}
}

// free adds what pods have that have left, and those in flight, to what is free.
func (n *Node) free(r *nodereport.Report) {
	known := make(map[types.UID]*Pod, len(n.Pods))
	var partly []types.UID // of which the report has a part
	for i := range n.Pods {
		known[n.Pods[i].UID] = &n.Pods[i]
	}
	for uid := range r.Pods() {
		pod := known[uid]
		switch {
		case pod == nil && nodereport.StaticPod(uid):
			// A static pod holds its CPUs with or without a mirror pod in the API server.
		case pod == nil:
			n.Gone = append(n.Gone, uid)
			n.Left = append(n.Left, Leaver{UID: uid, Leaving: admission.Leaving{Grants: r.Granted[uid], Held: r.Held[uid]}})
		case !pod.Covered() && (pod.InFlight || len(r.Granted[uid]) > 0):
			n.Gone = append(n.Gone, uid)
			partly = append(partly, uid)
		}
	}
	slices.SortFunc(n.Left, func(a, b Leaver) int { return cmp.Compare(a.UID, b.UID) })
	if len(n.Gone) > 0 {
		n.Kubelet = r.Without(n.Gone)
	}
	if len(partly) > 0 {
		n.Reported = r.Without(partly)
	}
}

// LeftUIDs are the UIDs of Left.
func (n *Node) LeftUIDs() []types.UID {
	uids := make([]types.UID, len(n.Left))
	for i := range n.Left {
		uids[i] = n.Left[i].UID
	}
	return uids
}

// Without is the node after the pods at these places of Pods have gone, and their report has come.
func (n *Node) Without(places ...int) Node {
	after := *n
	after.Pods = nil
	for i := range n.Pods {
		pod := &n.Pods[i]
		if !slices.Contains(places, i) {
			after.Pods = append(after.Pods, *pod)
			continue
		}
		after.Kubelet = pod.releasedFrom(after.Kubelet)
		after.Reported = pod.releasedFrom(after.Reported)
		after.Amounts.Requested -= pod.Millicores
	}
	return after
}

// releasedFrom is a kubelet after the pod has gone; nil for nil.
func (p *Pod) releasedFrom(kubelet *admission.Node) *admission.Node {
	if kubelet == nil {
		return nil
	}
	after := kubelet.Releasing(p.Grants, &p.Held)
	return &after
}

// Missing is how many millicores are too few for a demand, by kube-scheduler's count; 0 if the count is not known.
func (n *Node) Missing(d *Demand) int64 {
	if n.Amounts.Counting == NotCounted {
		return 0
	}
	return max(0, d.Millicores()-(n.Amounts.Allocatable-n.Amounts.Requested))
}

// InFlight appends what the pods in flight ask for to pods.
func (n *Node) InFlight(pods []*admission.Pod) []*admission.Pod {
	for i := range n.Pods {
		if n.Pods[i].InFlight {
			pods = append(pods, n.Pods[i].Asks)
		}
	}
	return pods
}

// onlyKept reports whether pods are in flight, and no report is waited for on account of any of them.
func (n *Node) onlyKept() bool {
	return slices.ContainsFunc(n.Pods, func(pod Pod) bool { return pod.InFlight }) &&
		!slices.ContainsFunc(n.Pods, func(pod Pod) bool { return pod.Awaited() })
}
