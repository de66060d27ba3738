package dedicatedcpu

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/scheduler/nodeview"
)

// eventEstimated is the reason of the event on a VM's pod that was bound to a node that could not be predicted exactly.
const eventEstimated = "CPUsEstimated"

// PostBind is called when a pod is bound: it counts on what knowledge, and the pod waits no more.
func (pl *DedicatedCPU) PostBind(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodeName string) {
	d := read(state)
	if d == nil {
		return
	}
	pl.waiting.remove(pod.UID)
	standing, why := nodeview.Exact, ""
	if value, ok := d.estimatedAt.Load(nodeName); ok {
		known := value.(estimated)
		standing, why = known.standing, known.why
	}
	bound.WithLabelValues(boundLabel(standing)).Inc()
	logger := klog.FromContext(ctx)
	if d.launcher && standing != nodeview.Exact {
		logger.Info("bound a VM to a node whose kubelet can't be predicted exactly", "pod", klog.KObj(pod), "node", nodeName, "standing", standing, "why", why)
		pl.events.Eventf(pod, nil, corev1.EventTypeWarning, eventEstimated, "Binding",
			"that node %s has room for the VM is estimated from its count of free CPUs, so its kubelet may refuse it: %s", nodeName, why)
		return
	}
	logger.V(2).Info("bound a pod with exclusive CPUs", "pod", klog.KObj(pod), "node", nodeName, "standing", standing)
}

// boundLabel says in the metric bound_pods_total on what knowledge a pod was bound.
func boundLabel(standing nodeview.Standing) string {
	switch standing {
	case nodeview.Exact:
		return boundExact
	case nodeview.NoCPUManager:
		return boundNoCPUManager
	}
	return boundEstimated
}
