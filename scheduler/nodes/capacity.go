// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// BestCase is the verdict about a demand without the pods in flight on the node. Pods that were gone in the last NodeInfo, have
// left since, or are among left count as gone. It decides whether a new report is worth another try. What it refuses,
// Predict would refuse too, unless more pods have gone since. For those kube-scheduler has an event of its own.
func (v *View) BestCase(on *corev1.Node, demand *verdict.Demand, left ...*corev1.Pod) verdict.Verdict {
	defer v.calls.End(v.calls.Begin(predicting, on.Name))
	best, _ := v.bestCase(on, left)
	return verdict.Of(&best, demand)
}

// Room is what a node has left for pods with one demand.
type Room struct {
	// Pods is how many of them it could take one after another.
	Pods int
	// Free is how many CPUs its kubelet could still grant after them.
	Free int
	// Exact is false where the kubelet cannot be predicted. Then Pods is how many the free CPUs of the report are enough for, or
	// one without a report that can be read, and Free is 0.
	Exact bool
}

// Capacity is how many pods with a demand the node could take, and whether that is exact; see Room.
func (v *View) Capacity(on *corev1.Node, demand *verdict.Demand, most int) (pods int, exact bool) {
	room := v.Room(on, demand, most)
	return room.Pods, room.Exact
}

// Room fills the node with pods with a demand, up to most: in the best case, but after the pods in flight.
func (v *View) Room(on *corev1.Node, demand *verdict.Demand, most int) Room {
	defer v.calls.End(v.calls.Begin(predicting, on.Name))
	best, inFlight := v.bestCase(on, nil)
	switch {
	case best.Kubelet == nil:
		return Room{Pods: min(most, 1)}
	case !exactFor(&best, demand):
		return Room{Pods: min(most, best.Kubelet.Free().Len()/max(1, demand.Pod.PeakCPUs()))}
	}
	node := *best.Kubelet
	admit := func(pod *admission.Pod) bool {
		d, after := node.Admitting(pod)
		if d.Verdict == admission.Admitted {
			node = after
		}
		return d.Verdict == admission.Admitted
	}
	for _, pod := range inFlight {
		admit(pod)
	}
	room := Room{Exact: true}
	for room.Pods < most && admit(&demand.Pod) {
		room.Pods++
	}
	room.Free = node.Free().Len()
	return room
}

// MostCPUs is how many exclusive CPUs a kubelet could grant a pod at most, in the best case. It is quicker to ask than BestCase.
// known is false where the report cannot tell.
func (v *View) MostCPUs(nodeName string) (cpus int, known bool) {
	n := v.node(nodeName)
	if n == nil {
		return 0, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.exact() {
		return 0, false
	}
	return n.report.Free(n.gone).Minus(n.report.Node.Reserved).Len(), true
}

func exactFor(n *verdict.Node, demand *verdict.Demand) bool {
	return n.State == nodereport.Exact && n.Kubelet.Inexact(demand.Pod) == ""
}

// bestCase is the node in the best case, and what the pods in flight on it ask for.
func (v *View) bestCase(on *corev1.Node, left []*corev1.Pod) (best verdict.Node, inFlight []*admission.Pod) {
	n := v.node(on.Name)
	if n == nil {
		return verdict.BestCase(on, v.absent(), nil), nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.report == nil {
		return verdict.BestCase(on, v.absent(), nil), nil
	}
	gone := n.gone
	for _, pod := range left {
		uid := verdict.UIDOnNode(pod)
		if n.reports(uid) && !slices.Contains(gone, uid) && !nodereport.StaticPod(uid) {
			gone = append(slices.Clone(gone), uid)
		}
	}
	return verdict.BestCase(on, n.report, gone), n.uncertainty.inFlight()
}
