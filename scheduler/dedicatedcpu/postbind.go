// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/nodereport"
)

const (
	// eventEstimated is the reason of the event on a VM's pod that is bound to a node without an exact prediction.
	eventEstimated = "CPUsEstimated"
	// eventQuestionable is the reason of the event on the pod of a VM that runs, and is not as it should be.
	eventQuestionable = "VMQuestionable"

	// maxNote is the longest note of an event, in bytes.
	maxNote = 1024
)

// warn writes an event about the VM of a pod.
func (pl *DedicatedCPU) warn(pod *corev1.Pod, note string) {
	if len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote-3], "") + "..."
	}
	pl.events.Eventf(pod, nil, corev1.EventTypeWarning, eventQuestionable, "Scheduling", "%s", note)
}

// PostBind is called when a pod is bound. The pod is not pending any more.
func (pl *DedicatedCPU) PostBind(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodeName string) {
	c := readCycle(state)
	if c == nil {
		return
	}
	pl.waker.Remove(pod.UID)
	pl.held.set(pod.UID, false)
	pl.view.Bound(nodeName, pod.UID)
	e, estimated := c.estimateOf(nodeName)
	if !estimated {
		e.state = nodereport.Exact
	}
	bound.WithLabelValues(boundLabel(e.state)).Inc()
	if len(c.warnings) > 0 {
		pl.warn(pod, strings.Join(c.warnings, "; "))
	}
	logger := klog.FromContext(ctx)
	if c.Dedicated && estimated {
		logger.Info("bound a VM to a node whose kubelet can't be predicted exactly", "pod", klog.KObj(pod), "node", nodeName, "state", e.state, "why", e.why)
		pl.events.Eventf(pod, nil, corev1.EventTypeWarning, eventEstimated, "Binding",
			"bound to node %s by a count of free CPUs only, so its kubelet may refuse the VM: %s", nodeName, e.why)
		return
	}
	logger.V(2).Info("bound a pod with exclusive CPUs", "pod", klog.KObj(pod), "node", nodeName, "state", e.state)
}

// boundLabel is the label of metric bound_pods_total.
func boundLabel(state nodereport.State) string {
	switch state {
	case nodereport.Exact:
		return boundExact
	case nodereport.NoCPUManager:
		return boundNoCPUManager
	}
	return boundEstimated
}
