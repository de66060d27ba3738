package dedicatedcpu

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Reserve is called when a node has been chosen. Nothing is reserved, since the pod is in the NodeInfo from now on. It is
// noted that the pod was predicted, so that the prediction can be compared with what the kubelet does.
func (pl *DedicatedCPU) Reserve(_ context.Context, state fwk.CycleState, pod *corev1.Pod, nodeName string) *fwk.Status {
	c := readCycle(state)
	if c == nil {
		return nil
	}
	if _, estimated := c.estimateOf(nodeName); !estimated {
		pl.view.Expect(nodeName, pod.UID, &c.Demand)
	}
	return nil
}

// Unreserve is called when the pod is not bound after all.
func (pl *DedicatedCPU) Unreserve(_ context.Context, _ fwk.CycleState, pod *corev1.Pod, nodeName string) {
	pl.view.Unexpect(nodeName, pod.UID)
}
