package dedicatedcpu

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/scheduler/nodeview"
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
	if c := read(state); c != nil {
		c.evicts = true
		c.evictsInFlight = c.evictsInFlight || pl.view.InFlight(nodeInfo.Node().Name, victim.GetPod())
	}
	return nil
}

// reportsInTime is for how long after its making a VM's pod evicts nobody while a node that could not answer yet waits
// for its report, which comes within a second or so. An agent that is dead must not hold it back for longer, so the pod
// is tried again then.
const reportsInTime = 30 * time.Second

// refusedEviction says why a node that would take a VM once others are evicted is refused all the same; nil if it is not.
func (pl *DedicatedCPU) refusedEviction(c *cycle, pod *corev1.Pod, standing nodeview.Standing) *refusal {
	switch {
	case c.evictsInFlight:
		return &refusedInFlight
	case !c.evicts || !c.launcher:
		return nil
	case standing != nodeview.Exact:
		return refusedStanding[standing] // whether its kubelet then takes the VM is a guess
	case !c.held.Load():
		return nil
	}
	left := reportsInTime - time.Since(pod.CreationTimestamp.Time)
	if left <= 0 {
		return nil
	}
	c.later.Do(func() { time.AfterFunc(left, func() { pl.tryAgain(pod) }) })
	return &refusedInFlight
}

// tryAgain activates a pod if it waits still.
func (pl *DedicatedCPU) tryAgain(pod *corev1.Pod) {
	if pl.waiting.has(pod.UID) {
		pl.activate(klog.Background(), "", []*corev1.Pod{pod})
	}
}
