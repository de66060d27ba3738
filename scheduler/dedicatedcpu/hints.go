// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/wakeup"
)

// EventsToRegister is called once at start. It names kube-scheduler's events that can make a pod fit which this plugin
// has refused. Reports are not among them; the package comment says why. Taints and allocatable amounts are, although
// Filter does not read them: a report does not wake a pod that the Node keeps out, for example by the taint of a starting
// kubelet. The end of that taint has to wake it.
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

// afterPodDelete reports whether a pod that was deleted or has ended may have made room. Only a pod with exclusive CPUs
// can have. It is also called when a binding fails. It changes nothing: podEvents updates the view, before or after.
func (pl *DedicatedCPU) afterPodDelete(logger klog.Logger, pod *corev1.Pod, oldObj, _ any) (fwk.QueueingHint, error) {
	gone, ok := oldObj.(*corev1.Pod)
	if !ok {
		return fwk.Queue, fmt.Errorf("judging a deleted pod: it is a %T", oldObj)
	}
	if gone.Spec.NodeName == "" || !verdict.AsksCPUs(gone) {
		logger.V(5).Info("the deleted pod had no exclusive CPUs", "pod", klog.KObj(pod), "deletedPod", klog.KObj(gone))
		return fwk.QueueSkip, nil
	}
	if launcher.MisfitOf(pod, nil).What != "" {
		return fwk.QueueSkip, nil // no node would take it
	}
	if pl.waker.HeldAt(pod.UID, gone.Spec.NodeName) {
		logger.V(5).Info("a pod in flight is deleted from a node that could not answer", "pod", klog.KObj(pod), "deletedPod", klog.KObj(gone))
		return fwk.Queue, nil // even if the node is full: preemption can look at it now
	}
	d := pl.podDemand(pod)
	if d != nil && !pl.couldFitWithout(gone, d) {
		logger.V(5).Info("the node would still not take the pod", "pod", klog.KObj(pod), "deletedPod", klog.KObj(gone))
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("a pod with exclusive CPUs is deleted", "pod", klog.KObj(pod), "deletedPod", klog.KObj(gone))
	return fwk.Queue, nil
}

// couldFitWithout reports whether the node that a pod has left could now take the demand. If not, and other pods leave
// too, the hint for one of them or the next report wakes the pod.
func (pl *DedicatedCPU) couldFitWithout(gone *corev1.Pod, d *verdict.Demand) bool {
	node, err := pl.nodes.Get(gone.Spec.NodeName)
	if err != nil {
		return false // the Node is deleted too; if it comes back, that is an event
	}
	return pl.couldFit(node, d, gone)
}

// couldFit reports whether a node could take the demand if all pods in flight there, and those in gone, were deleted.
func (pl *DedicatedCPU) couldFit(node *corev1.Node, d *verdict.Demand, gone ...*corev1.Pod) bool {
	best := pl.view.BestCase(node, d, gone...)
	return best.Fits() || best.State == nodereport.Starting // its report may say yes
}

// afterPodUpdate reports whether the pending pod itself now asks for something else.
func afterPodUpdate(logger klog.Logger, pod *corev1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, ok := oldObj.(*corev1.Pod)
	after, okToo := newObj.(*corev1.Pod)
	if !ok || !okToo {
		return fwk.Queue, fmt.Errorf("judging an updated pod: it is a %T and a %T", oldObj, newObj)
	}
	if after.UID != pod.UID {
		// Another pod that asks for less keeps its CPUs until its node's report says otherwise.
		return fwk.QueueSkip, nil
	}
	was := readDemand(before)
	is := readDemand(after)
	if was != nil && is != nil && was.Key() == is.Key() {
		logger.V(5).Info("the pod asks for the same CPUs as before", "pod", klog.KObj(pod))
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("the pod asks for other CPUs than before", "pod", klog.KObj(pod))
	return fwk.Queue, nil
}

// afterNodeChange reports whether a new or changed Node may take the pod.
func (pl *DedicatedCPU) afterNodeChange(logger klog.Logger, pod *corev1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	node, ok := newObj.(*corev1.Node)
	if !ok {
		return fwk.Queue, fmt.Errorf("judging a changed node: it is a %T", newObj)
	}
	before, existed := oldObj.(*corev1.Node)
	d := pl.podDemand(pod)
	switch {
	case launcher.MisfitOf(pod, nil).What != "":
		logger.V(5).Info("no node would take the pod", "pod", klog.KObj(pod), "node", klog.KObj(node))
		return fwk.QueueSkip, nil
	case d != nil && d.NeedsLabel && !verdict.Labelled(node):
		logger.V(5).Info("the node has no label cpumanager=true", "pod", klog.KObj(pod), "node", klog.KObj(node))
		return fwk.QueueSkip, nil
	case existed && before != nil && verdict.Labelled(before) == verdict.Labelled(node) && !pl.opened(logger, before, node, pod, d):
		logger.V(5).Info("the change of the node does not matter", "pod", klog.KObj(pod), "node", klog.KObj(node))
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("the node may take the pod", "pod", klog.KObj(pod), "node", klog.KObj(node))
	return fwk.Queue, nil
}

// opened reports whether a Node lets in a pod that it kept out before, and could take it. A report did not wake such a
// pod.
func (pl *DedicatedCPU) opened(logger klog.Logger, before, node *corev1.Node, pod *corev1.Pod, d *verdict.Demand) bool {
	return !wakeup.Reaches(logger, before, pod) && wakeup.Reaches(logger, node, pod) && (d == nil || pl.couldFit(node, d))
}
