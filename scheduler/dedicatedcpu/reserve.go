// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Reserve is called when a node has been chosen. Nothing is reserved, since the pod is in the NodeInfo from now on. The view
// is informed, in case that the pod is gone before a NodeInfo shows it. So is the audit, if the node was predicted exactly.
func (pl *DedicatedCPU) Reserve(_ context.Context, state fwk.CycleState, pod *corev1.Pod, nodeName string) *fwk.Status {
	c := readCycle(state)
	if c == nil {
		return nil
	}
	pl.view.Assumed(nodeName, pod, &c.Pod)
	pl.ranking.Changed(nodeName)
	_, estimated := c.estimateOf(nodeName)
	if !estimated {
		pl.audit.Expect(nodeName, pod.UID, &c.Pod)
	}
	return nil
}

// Unreserve is called when the pod is not bound after all.
func (pl *DedicatedCPU) Unreserve(_ context.Context, _ fwk.CycleState, pod *corev1.Pod, nodeName string) {
	pl.audit.Forget(pod.UID)
	pl.view.Unbound(nodeName, pod)
	pl.ranking.Changed(nodeName)
}
