package dedicatedcpu

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/scheduler/nodeview"
)

// eventEstimated is the reason of the event on a VM's pod that is bound to a node without an exact prediction.
const eventEstimated = "CPUsEstimated"

// PostBind is called when a pod is bound. The pod is not pending any more.
func (pl *DedicatedCPU) PostBind(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodeName string) {
	c := readCycle(state)
	if c == nil {
		return
	}
	pl.waker.Remove(pod.UID)
	e, estimated := c.estimateOf(nodeName)
	if !estimated {
		e.standing = nodeview.Exact
	}
	bound.WithLabelValues(boundLabel(e.standing)).Inc()
	logger := klog.FromContext(ctx)
	if c.dedicated && estimated {
		logger.Info("bound a VM to a node whose kubelet can't be predicted exactly", "pod", klog.KObj(pod), "node", nodeName, "standing", e.standing, "why", e.why)
		pl.events.Eventf(pod, nil, corev1.EventTypeWarning, eventEstimated, "Binding",
			"bound to node %s by a count of free CPUs only, so its kubelet may refuse the VM: %s", nodeName, e.why)
		return
	}
	logger.V(2).Info("bound a pod with exclusive CPUs", "pod", klog.KObj(pod), "node", nodeName, "standing", e.standing)
}

// boundLabel is the label of metric bound_pods_total.
func boundLabel(standing nodeview.Standing) string {
	switch standing {
	case nodeview.Exact:
		return boundExact
	case nodeview.NoCPUManager:
		return boundNoCPUManager
	}
	return boundEstimated
}
