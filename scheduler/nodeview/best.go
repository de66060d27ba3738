package nodeview

import (
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubeletcpu"
)

// AtBest is what the node's kubelet would do with the pod, were there no pods in flight and all pods gone that were gone
// at the last prediction. It is for deciding whether a new report is worth another try: what it refuses, Predict would
// refuse too, unless more pods have gone since, and for those kube-scheduler has an event of its own.
func (v *View) AtBest(on *corev1.Node, demand *Demand) *Prediction {
	n := v.node(on.Name)
	if n == nil {
		return absent[Labelled(on)][v.absent()]
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p := unknown(n.report, on.UID, demand)
	if p == nil {
		free := *n.report.node
		free.Shared = n.report.free(n.gone)
		p = &Prediction{Standing: Exact, Decision: kubeletcpu.Admit(&free, &demand.Pod), Node: &free}
	}
	p.Labelled = Labelled(on)
	return p
}

// Room is how many pods with a demand, no more than most, a node's kubelet would admit one after another, by the same
// measure as AtBest, but after the pods that are expected there. Of a node that cannot be predicted exactly it is most.
func (v *View) Room(on *corev1.Node, demand *Demand, most int) int {
	n := v.node(on.Name)
	if n == nil {
		return most
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if unknown(n.report, on.UID, demand) != nil {
		return most
	}
	free := *n.report.node
	free.Shared = n.report.free(n.gone)
	admit := func(pod *kubeletcpu.Pod) bool {
		d := kubeletcpu.Admit(&free, pod)
		if d.Verdict == kubeletcpu.Admitted {
			free.Shared = d.Shared
		}
		return d.Verdict == kubeletcpu.Admitted
	}
	for _, asks := range n.expected {
		admit(asks)
	}
	room := 0
	for room < most && admit(&demand.Pod) {
		room++
	}
	return room
}
