package dedicatedcpu

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodeview"
)

// Filter is called for each node that the plugins before found fit: it refuses the node if its kubelet
// would refuse the pod.
func (pl *DedicatedCPU) Filter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	c := read(state)
	if c == nil {
		return fwk.AsStatus(fmt.Errorf("filtering nodes for pod %s/%s: PreFilter has left no demand", pod.Namespace, pod.Name))
	}
	// Before the prediction, so that a report which comes just after it finds the pod waiting.
	c.waits.Do(func() { pl.wait(pod, c.demand) })
	prediction := pl.predict(c, nodeInfo)
	if c.launcher && !prediction.Labelled && pl.args.CPUManagerNodes == config.Required {
		return refusedNoLabel.status()
	}
	r := pl.judge(c.demand, prediction)
	if prediction.Standing == nodeview.Exact {
		c.exact(nodeInfo)
	} else if r == nil {
		if c.launcher {
			r = estimate(pod, prediction.Standing, nodeInfo)
		}
		if r == nil {
			c.estimate(nodeInfo.Node().Name, estimated{prediction.Standing, prediction.Why})
		}
	}
	if r == nil && c.simulated {
		r = pl.refusedEviction(c, pod, prediction.Standing)
	}
	if r == nil {
		return nil
	}
	if r == &refusedInFlight {
		c.heldAt.Store(nodeInfo.Node().Name, nil)
		if !c.simulated {
			c.held.Store(true)
		}
	}
	if logger := klog.FromContext(ctx).V(4); logger.Enabled() {
		why := prediction.Why
		if prediction.Standing == nodeview.Exact {
			why = prediction.Decision.String()
		}
		logger.Info("node refused", "pod", klog.KObj(pod), "node", klog.KObj(nodeInfo.Node()), "reason", r.reason, "why", why)
	}
	return r.status()
}

// judge says why a node is refused; nil if it is not. That is remembered with the prediction: it takes as long as the
// prediction itself, where the VM is known.
func (pl *DedicatedCPU) judge(d *demand, p *nodeview.Prediction) *refusal {
	if p.Standing != nodeview.Exact {
		if pl.estimates(d, p.Standing) {
			return nil
		}
		return refusedStanding[p.Standing]
	}
	if known, ok := p.Verdict.Load().(*refusal); ok {
		return known
	}
	r := refused(p, &d.Pod)
	if r == nil {
		r = refusedGuest(d, p)
	}
	p.Verdict.Store(r)
	return r
}

// eligible tells whether a VM may go to a node, as far as labels are concerned.
func (pl *DedicatedCPU) eligible(node *corev1.Node) bool {
	return pl.args.CPUManagerNodes == config.Preferred || nodeview.Labelled(node)
}
