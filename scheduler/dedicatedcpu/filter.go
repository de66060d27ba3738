// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/nodes"
)

// Filter is called for each node that the plugins before accepted. It refuses the node if its kubelet would refuse the
// pod.
func (pl *DedicatedCPU) Filter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	c := readCycle(state)
	if c == nil {
		return fwk.AsStatus(fmt.Errorf("filtering nodes for pod %s/%s: PreFilter has left no demand", pod.Namespace, pod.Name))
	}
	// Before the prediction, so that a report which comes right after it finds the pod pending.
	c.addPending.Do(func() { pl.waker.Add(pod, pl.pendingDemand(c.Demand, c.findings)) })
	if !c.simulated && c.query.Fits(nodeInfo) {
		c.noteExact(nodeInfo)
		return nil
	}
	p := c.predict(nodeInfo)
	r := pl.refuse(c, pod, nodeInfo, p)
	if r == nil {
		return nil
	}
	if r.code == fwk.Pending {
		pl.wait(c, pod, nodeInfo.Node().Name, r, p)
	}
	if r == &refusedLate {
		c.addLate.Do(func() { pl.tellLate(ctx, pod) })
	}
	if !c.simulated {
		refusals.WithLabelValues(r.label).Inc()
	}
	logger := klog.FromContext(ctx).V(4)
	if logger.Enabled() {
		logger.Info("node refused", "pod", klog.KObj(pod), "node", klog.KObj(nodeInfo.Node()), "reason", r.reason,
			"state", p.State, "why", p.Why, "decision", p.Decision.String())
	}
	return fwk.NewStatus(r.code, r.reason)
}

// cycleBudget is the time for predictions in one cycle, of all nodes together. A prediction takes microseconds, and with
// the worst report that can be read some ten milliseconds; most are cached.
const cycleBudget = 5 * time.Second

// lateRetry is when a pod is tried again for which not all nodes could be asked. What was predicted is cached by then.
const lateRetry = time.Second

// tellLate is called once in a cycle whose time is over.
func (pl *DedicatedCPU) tellLate(ctx context.Context, pod *corev1.Pod) {
	klog.FromContext(ctx).Info("the time for predictions in one cycle is over, and some nodes were not looked at", "pod", klog.KObj(pod), "budget", cycleBudget)
	lateCycles.Inc()
	pl.waker.RetryIn(pod.UID, lateRetry)
}

// wait notes that a node could not answer. The pod is tried again when the node is not waited for any more; a report that
// comes before wakes it.
func (pl *DedicatedCPU) wait(c *cycle, pod *corev1.Pod, nodeName string, r *refusal, p *nodes.Prediction) {
	if r != refusedState[nodereport.Starting] {
		c.noteHeld(nodeName, c.simulated)
	}
	if !p.Until.IsZero() {
		pl.waker.RetryIn(pod.UID, pl.view.Remaining(p))
	}
}

// refuse says why a node is refused; nil if it is accepted. An accepted node is noted as exact or estimated.
func (pl *DedicatedCPU) refuse(c *cycle, pod *corev1.Pod, nodeInfo fwk.NodeInfo, p *nodes.Prediction) *refusal {
	r := refusalOf(p, c.Demand)
	switch {
	case p.Obstacle == verdict.Label:
		return r
	case p.State == nodereport.Exact:
		c.noteExact(nodeInfo)
	case r == nil:
		c.noteEstimated(nodeInfo.Node().Name, estimate{p.State, p.Why})
	}
	if r == nil && c.simulated {
		r = pl.evictionRefusal(c, pod, p.State)
	}
	return r
}
