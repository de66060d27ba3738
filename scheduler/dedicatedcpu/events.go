package dedicatedcpu

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/scheduler/nodeview"
)

// EventsToRegister is called once at start: these are the events of kube-scheduler that can make a pod
// fit which this plugin has refused. Reports are not among them; the package comment says why. Taints and allocatable are,
// though Filter does not read them: a report that comes while the node is tainted, as a kubelet that has just started
// is, wakes nobody whom the taint keeps out (reportChanged), and it is its going that must.
func (pl *DedicatedCPU) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{
			Event:          fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.Delete},
			QueueingHintFn: pl.afterPodDelete,
		},
		{
			Event:          fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.UpdatePodLabel | fwk.UpdatePodScaleDown},
			QueueingHintFn: afterPodUpdate,
		},
		{
			Event:          fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeLabel | fwk.UpdateNodeTaint | fwk.UpdateNodeAllocatable},
			QueueingHintFn: pl.afterNodeChange,
		},
	}, nil
}

// afterPodDelete tells whether a pod that has gone, or has ended, may have made room: only one that held
// exclusive CPUs has. It is also called when a binding fails.
func (pl *DedicatedCPU) afterPodDelete(logger klog.Logger, pod *corev1.Pod, oldObj, _ any) (fwk.QueueingHint, error) {
	gone, ok := oldObj.(*corev1.Pod)
	if !ok {
		return fwk.Queue, fmt.Errorf("judging a deleted pod: it is a %T", oldObj)
	}
	if gone.Spec.NodeName == "" || !nodeview.AsksCPUs(gone) {
		logger.V(5).Info("the pod that is gone had no exclusive CPUs", "pod", klog.KObj(pod), "gonePod", klog.KObj(gone))
		return fwk.QueueSkip, nil
	}
	if len(launcher.Problems(pod)) > 0 {
		return fwk.QueueSkip, nil // no node would take it
	}
	if pl.waiting.heldAt(pod.UID, gone.Spec.NodeName) {
		logger.V(5).Info("a pod in flight is gone from a node that could not answer", "pod", klog.KObj(pod), "gonePod", klog.KObj(gone))
		return fwk.Queue, nil // even if the node is full: preemption can do its work there now
	}
	if d := demandOf(pod); d != nil && !pl.couldFitOnceLeft(gone, d) {
		logger.V(5).Info("the node would still not take the pod", "pod", klog.KObj(pod), "gonePod", klog.KObj(gone))
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("a pod with exclusive CPUs is gone", "pod", klog.KObj(pod), "gonePod", klog.KObj(gone))
	return fwk.Queue, nil
}

// couldFitOnceLeft tells whether the node that a pod has left could now take the demand. If not, and other pods
// leave it before their CPUs are free in its report, the hint for the last of them says yes, or the report.
func (pl *DedicatedCPU) couldFitOnceLeft(gone *corev1.Pod, d *demand) bool {
	node, err := pl.nodes.Get(gone.Spec.NodeName)
	if err != nil {
		return false // the node is gone too; if it comes back, that is an event
	}
	pl.view.Left(gone)
	return pl.couldFit(node, d)
}

// couldFit tells whether a node could take the demand, were all the pods in flight there gone.
func (pl *DedicatedCPU) couldFit(node *corev1.Node, d *demand) bool {
	at := pl.view.AtBest(node, &d.Demand)
	return at.Standing != nodeview.Exact || at.Decision.Verdict == kubeletcpu.Admitted
}

// afterPodUpdate tells whether the waiting pod itself now asks for something else.
func afterPodUpdate(logger klog.Logger, pod *corev1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, ok := oldObj.(*corev1.Pod)
	after, okToo := newObj.(*corev1.Pod)
	if !ok || !okToo {
		return fwk.Queue, fmt.Errorf("judging an updated pod: it is a %T and a %T", oldObj, newObj)
	}
	if after.UID != pod.UID {
		// Another pod that asks for less keeps its CPUs until a kubelet says otherwise, in its report.
		return fwk.QueueSkip, nil
	}
	if was, is := demandOf(before), demandOf(after); was != nil && is != nil && was.Key == is.Key && was.launcher == is.launcher {
		logger.V(5).Info("the pod asks for the same CPUs as before", "pod", klog.KObj(pod))
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("the pod asks for other CPUs than before", "pod", klog.KObj(pod))
	return fwk.Queue, nil
}

// afterNodeChange tells whether a new node, or one with new labels, may take the pod.
func (pl *DedicatedCPU) afterNodeChange(logger klog.Logger, pod *corev1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	node, ok := newObj.(*corev1.Node)
	if !ok {
		return fwk.Queue, fmt.Errorf("judging a changed node: it is a %T", newObj)
	}
	before, existed := oldObj.(*corev1.Node)
	d := demandOf(pod)
	switch {
	case len(launcher.Problems(pod)) > 0:
		logger.V(5).Info("no node would take the pod", "pod", klog.KObj(pod), "node", klog.KObj(node))
		return fwk.QueueSkip, nil
	case d != nil && d.launcher && !pl.eligible(node):
		logger.V(5).Info("the node has no label cpumanager=true", "pod", klog.KObj(pod), "node", klog.KObj(node))
		return fwk.QueueSkip, nil
	case existed && before != nil && nodeview.Labelled(before) == nodeview.Labelled(node) && !pl.opened(logger, before, node, pod, d):
		logger.V(5).Info("what changed of the node is of no interest", "pod", klog.KObj(pod), "node", klog.KObj(node))
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("the node may take the pod", "pod", klog.KObj(pod), "node", klog.KObj(node))
	return fwk.Queue, nil
}

// opened tells whether a node lets in a pod that it kept out before, when a report would not have woken the pod, and
// could take it.
func (pl *DedicatedCPU) opened(logger klog.Logger, before, node *corev1.Node, pod *corev1.Pod, d *demand) bool {
	return !reaches(logger, before, pod) && reaches(logger, node, pod) && (d == nil || pl.couldFit(node, d))
}
