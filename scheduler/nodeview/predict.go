package nodeview

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/kubeletcpu"
)

// mirrorAnnotation stands on the API server's copy of a static pod. Its value is the UID that the pod
// has on its node, and so in the kubelet's state (pkg/kubelet/config/common.go and
// pkg/kubelet/types/pod_update.go, v1.36.3); the copy's own UID is another.
const mirrorAnnotation = "kubernetes.io/config.mirror"

// Prediction is what a kubelet will do with a pod, as far as that can be known.
type Prediction struct {
	// Standing is what is known of the node; Decision and Node are set only where it is Exact.
	Standing Standing
	// Why tells of every other standing how it came about.
	Why string
	// Decision is the kubelet's, with the pods in flight admitted before.
	Decision kubeletcpu.Decision
	// Node is the node without the pods in flight and without the pod. It must not be changed.
	Node *kubeletcpu.Node
}

// unknown is the prediction for a Node, given by its UID, or a pod, that cannot be predicted exactly
// whatever pods are there; ok is true for one that may be.
func unknown(r *Report, node types.UID, demand *Demand) (p Prediction, ok bool) {
	switch {
	case r == nil:
		return Prediction{Standing: Missing, Why: "there is no report"}, false
	case r.owner != "" && r.owner != node:
		return Prediction{Standing: Missing, Why: "the report is of an earlier Node of that name"}, false
	case r.standing != Exact:
		return Prediction{Standing: r.standing, Why: r.why}, false
	}
	if why := r.node.Inexact(demand.Pod); why != "" {
		return Prediction{Standing: Inexact, Why: why}, false
	}
	return Prediction{}, true
}

// overlaid is a report laid together with the pods of a NodeInfo.
type overlaid struct {
	node     *kubeletcpu.Node
	inFlight []*kubeletcpu.Pod
	// gone are pods whose CPUs in the report count as free: those that have left, that is, are not in the
	// NodeInfo, and those that are in flight.
	gone []types.UID
	// left tells that some of gone have left.
	left bool
	// inexact tells why a pod in flight cannot be predicted; "" if all can.
	inexact string
}

// overlay lays an exact report together with pods. A pod of which the report has only some containers is
// in flight and what it has counts as free, so that it is admitted once more, as a whole.
func overlay(r *Report, pods []fwk.PodInfo) *overlaid {
	o := &overlaid{}
	granted := make(map[types.UID]bool, len(r.granted)) // of the pods there: whether the report covers them
	for _, info := range pods {
		pod := info.GetPod()
		if !mayHold(pod) {
			continue
		}
		uid, demand := uidOnNode(pod), DemandOf(pod)
		switch {
		case r.covers(uid, &demand.Pod):
			granted[uid] = true
		case demand.Pod.Exclusive():
			granted[uid] = false
			o.inFlight = append(o.inFlight, &demand.Pod)
			if o.inexact == "" {
				o.inexact = r.node.Inexact(demand.Pod)
			}
		}
	}
	for uid := range r.granted {
		covered, there := granted[uid]
		if !covered {
			o.gone = append(o.gone, uid)
		}
		o.left = o.left || !there
	}
	node := *r.node
	node.Shared = r.free(o.gone)
	o.node = &node
	return o
}

func (o *overlaid) predict(pod *kubeletcpu.Pod) Prediction {
	if o.inexact != "" {
		return Prediction{Standing: Inexact, Why: "a pod in flight: " + o.inexact}
	}
	d := kubeletcpu.AdmitAll(o.node, o.inFlight, pod)
	if o.left && len(o.inFlight) > 0 && (d.Verdict == kubeletcpu.Admitted || d.Preemptible) {
		d = kubeletcpu.Decision{Verdict: kubeletcpu.Wait, Shared: d.Shared,
			Message: "the pods in flight may have been admitted before or after other pods left the node"}
	}
	return Prediction{Standing: Exact, Decision: d, Node: o.node}
}

// mayHold leaves out, cheaply, the pods that hold no exclusive CPUs for certain.
func mayHold(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	return pod.Status.QOSClass == "" || pod.Status.QOSClass == corev1.PodQOSGuaranteed
}

func uidOnNode(pod *corev1.Pod) types.UID {
	if uid, ok := pod.Annotations[mirrorAnnotation]; ok {
		return types.UID(uid)
	}
	return pod.UID
}
