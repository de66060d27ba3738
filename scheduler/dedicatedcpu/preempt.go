package dedicatedcpu

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// AddPod is called when a pod is put into a copy of a node, by preemption or as a nominated one: Filter finds it
// there.
func (pl *DedicatedCPU) AddPod(context.Context, fwk.CycleState, *corev1.Pod, fwk.PodInfo, fwk.NodeInfo) *fwk.Status {
	return nil
}

// RemovePod is called when preemption takes a pod out of a copy of a node. Filter finds it gone; but of a pod in
// flight it is not known yet which CPUs it will have been given, nor what would be free without it. Preemption
// puts back whom it can spare, so it would then evict more than it has to. Such a node has to wait for its
// report.
func (pl *DedicatedCPU) RemovePod(_ context.Context, state fwk.CycleState, _ *corev1.Pod, victim fwk.PodInfo, nodeInfo fwk.NodeInfo) *fwk.Status {
	if c := read(state); c != nil && pl.view.InFlight(nodeInfo.Node().Name, victim.GetPod()) {
		c.evictsInFlight = true
	}
	return nil
}
