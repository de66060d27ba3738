package dedicatedcpu

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodeview"
)

// Filter is called for each node that the plugins before accepted. It refuses the node if its kubelet would refuse the
// pod.
func (pl *DedicatedCPU) Filter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	c := readCycle(state)
	if c == nil {
		return fwk.AsStatus(fmt.Errorf("filtering nodes for pod %s/%s: PreFilter has left no demand", pod.Namespace, pod.Name))
	}
	// Before the prediction, so that a report which comes right after it finds the pod pending.
	c.addPending.Do(func() { pl.waker.Add(pod, pl.pendingDemand(c.demand, c.findings)) })
	p := pl.predict(c, nodeInfo)
	r := pl.refuse(c, pod, nodeInfo, p)
	if r == nil {
		return nil
	}
	if r.waitsForPods() {
		c.noteHeld(nodeInfo.Node().Name, c.simulated)
	}
	if !c.simulated {
		refusals.WithLabelValues(r.label).Inc()
	}
	if logger := klog.FromContext(ctx).V(4); logger.Enabled() {
		why := p.Why
		if p.Standing == nodeview.Exact {
			why = p.Decision.String()
		}
		logger.Info("node refused", "pod", klog.KObj(pod), "node", klog.KObj(nodeInfo.Node()), "reason", r.reason, "why", why)
	}
	return fwk.NewStatus(r.code, r.reason)
}

// refuse says why a node is refused; nil if it is accepted. An accepted node is noted as exact or estimated.
func (pl *DedicatedCPU) refuse(c *cycle, pod *corev1.Pod, nodeInfo fwk.NodeInfo, p *nodeview.Prediction) *refusal {
	if c.dedicated && !p.Labelled && pl.args.CPUManagerNodes == config.Required {
		return &refusedNoLabel
	}
	r := pl.refusalOf(c.demand, p)
	if r == nil && p.Standing != nodeview.Exact && c.dedicated {
		r = estimateRefusal(pod, p.Standing, nodeInfo)
	}
	switch {
	case p.Standing == nodeview.Exact:
		c.noteExact(nodeInfo)
	case r == nil:
		c.noteEstimated(nodeInfo.Node().Name, estimate{p.Standing, p.Why})
	}
	if r == nil && c.simulated {
		r = pl.evictionRefusal(c, pod, p.Standing)
	}
	return r
}

// refusalOf says why a prediction means a refusal; nil if it does not. The answer to an exact prediction is cached with
// it: with a known VM it takes as long as the prediction itself.
func (pl *DedicatedCPU) refusalOf(d *demand, p *nodeview.Prediction) *refusal {
	if p.Standing != nodeview.Exact {
		if pl.canEstimate(d, p.Standing) {
			return nil
		}
		return refusedStanding[p.Standing]
	}
	if cached, ok := p.Verdict.Load().(*refusal); ok {
		return cached
	}
	r := decisionRefusal(p, &d.Pod)
	if r == nil {
		r = guestRefusal(d, p)
	}
	p.Verdict.Store(r)
	return r
}

// eligible reports whether the labels of a node allow a VM.
func (pl *DedicatedCPU) eligible(node *corev1.Node) bool {
	return pl.args.CPUManagerNodes == config.Preferred || nodeview.Labelled(node)
}

// canEstimate reports whether a node that is not predicted exactly is judged by counts.
func (pl *DedicatedCPU) canEstimate(d *demand, standing nodeview.Standing) bool {
	switch standing {
	case nodeview.Starting:
		return false // the report comes in a moment
	case nodeview.NoCPUManager:
		return !d.dedicated // a VM would certainly not get its CPUs
	}
	return !d.dedicated || pl.args.NodesWithoutExactReport == config.Estimate
}

// estimateRefusal judges a node by counts; nil means that they are enough. The node's free CPUs are its allocatable ones
// without the requests of all pods and of the pod's own shared containers, rounded down to whole CPUs. Where they lie is
// not known, so the kubelet may still refuse the pod.
func estimateRefusal(pod *corev1.Pod, standing nodeview.Standing, nodeInfo fwk.NodeInfo) *refusal {
	needs := launcher.NeedsOf(pod)
	exclusive := int64(needs.ExclusiveCPUs)
	usable := nodeInfo.GetAllocatable().GetMilliCPU() - needs.Fraction()
	switch {
	case exclusive <= wholeCPUs(usable-nodeInfo.GetRequested().GetMilliCPU()):
		return nil
	case exclusive <= wholeCPUs(usable):
		return estimatedFull[standing]
	}
	return estimatedSmall[standing]
}

// wholeCPUs rounds millicores down.
func wholeCPUs(milli int64) int64 { return max(milli, 0) / 1000 }
