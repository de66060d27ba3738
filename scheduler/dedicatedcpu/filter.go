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

// The labels by which a node says that its kubelet's CPU manager runs: the one of corepin and of old
// KubeVirt, and KubeVirt's own of today.
const (
	labelCPUManager         = "cpumanager"
	labelKubeVirtCPUManager = "kubevirt.io/cpumanager"
)

// Filter is called for each node that the plugins before found fit: it refuses the node if its kubelet
// would refuse the pod.
func (pl *DedicatedCPU) Filter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	d := read(state)
	if d == nil {
		return fwk.AsStatus(fmt.Errorf("filtering nodes for pod %s/%s: PreFilter has left no demand", pod.Namespace, pod.Name))
	}
	if d.launcher && !labelled(nodeInfo.Node()) {
		return refusedNoLabel.status()
	}
	// Before the prediction, so that a report which comes just after it finds the pod waiting.
	d.waits.Do(func() { pl.wait(pod, d) })
	prediction := pl.view.Predict(&d.Demand, nodeInfo)
	r := pl.judge(d, &prediction)
	if r == nil {
		if prediction.Standing != nodeview.Exact {
			d.estimatedAt.Store(nodeInfo.Node().Name, prediction.Standing)
		}
		return nil
	}
	if r == &refusedInFlight {
		d.heldAt.Store(nodeInfo.Node().Name, nil)
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

// judge says why a node is refused; nil if it is not.
func (pl *DedicatedCPU) judge(d *demand, p *nodeview.Prediction) *refusal {
	if p.Standing == nodeview.Exact {
		return refused(p, &d.Pod)
	}
	if pl.estimates(d, p.Standing) {
		return nil
	}
	return refusedStanding[p.Standing]
}

// estimates tells whether a node of which something less than Exact is known is left to kube-scheduler's
// own judgement.
func (pl *DedicatedCPU) estimates(d *demand, standing nodeview.Standing) bool {
	switch standing {
	case nodeview.Starting:
		return false // it will be known in a moment
	case nodeview.NoCPUManager:
		return !d.launcher // it is known, and a VM would not get its CPUs
	}
	return !d.launcher || pl.args.NodesWithoutExactReport == config.Estimate
}

func labelled(node *corev1.Node) bool {
	return node.Labels[labelCPUManager] == "true" || node.Labels[labelKubeVirtCPUManager] == "true"
}
