package dedicatedcpu

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/scheduler/nodeview"
)

// PostBind is called when a pod is bound: it counts on what knowledge, and the pod waits no more.
func (pl *DedicatedCPU) PostBind(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodeName string) {
	d := read(state)
	if d == nil {
		return
	}
	pl.waiting.remove(pod.UID)
	standing := nodeview.Exact
	if estimated, ok := d.estimatedAt.Load(nodeName); ok {
		standing = estimated.(nodeview.Standing)
	}
	bound.WithLabelValues(boundLabel(standing)).Inc()
	logger := klog.FromContext(ctx)
	if d.launcher && standing != nodeview.Exact {
		logger.Info("bound a VM to a node whose kubelet can't be predicted exactly", "pod", klog.KObj(pod), "node", nodeName, "standing", standing)
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
