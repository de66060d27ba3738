package nodeview

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
)

// AtBest is what the node's kubelet would do with the pod, were there no pods in flight, and all pods gone that were gone
// at the last prediction, and those in gone too. It is for deciding whether a new report, or a pod that goes, is worth
// another try: what it refuses, Predict would refuse too, unless more pods have gone since. It changes nothing.
func (v *View) AtBest(on *corev1.Node, demand *Demand, gone ...*corev1.Pod) *Prediction {
	n := v.node(on.Name)
	if n == nil {
		return absent[Labelled(on)][v.absent()]
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p := unknown(n.report, on.UID, demand)
	if p == nil {
		free := *n.report.node
		free.Shared = n.report.free(n.goneWith(gone))
		p = &Prediction{Standing: Exact, Decision: admission.Admit(&free, &demand.Pod), Node: &free}
	}
	p.Labelled = Labelled(on)
	return p
}

// goneWith are the pods that have gone, and those in pods too.
func (n *node) goneWith(pods []*corev1.Pod) []types.UID {
	gone := n.gone
	for _, pod := range pods {
		if uid := uidOnNode(pod); !nodereport.StaticPod(uid) {
			gone = append(slices.Clone(gone), uid)
		}
	}
	return gone
}

// Room is how many pods with a demand, no more than limit, a node's kubelet would admit one after another, by the same
// measure as AtBest, but after the pods that are expected there. exact is false for a node that cannot be predicted exactly: its
// free CPUs are counted then, and without a report that can be read the number is 1.
func (v *View) Room(on *corev1.Node, demand *Demand, limit int) (pods int, exact bool) {
	n := v.node(on.Name)
	if n == nil {
		return min(1, limit), false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if unknown(n.report, on.UID, demand) != nil {
		return min(n.roomByCount(&demand.Pod), limit), false
	}
	free := *n.report.node
	free.Shared = n.report.free(n.gone)
	admit := func(pod *admission.Pod) bool {
		d := admission.Admit(&free, pod)
		if d.Verdict == admission.Admitted {
			free.Shared = d.Shared
		}
		return d.Verdict == admission.Admitted
	}
	for _, asks := range n.expected {
		admit(asks)
	}
	for pods < limit && admit(&demand.Pod) {
		pods++
	}
	return pods, true
}

// roomByCount is how many such pods the free CPUs of a report that is not exact are enough for.
func (n *node) roomByCount(pod *admission.Pod) int {
	if n.report == nil || n.report.node == nil {
		return 1
	}
	free := n.report.free(n.gone).Minus(n.report.node.Reserved)
	return free.Len() / max(1, pod.PeakCPUs())
}
