package dedicatedcpu

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// listing is why a pod is not scheduled yet; it stands in kube-scheduler's log only, since a pod that is kept
// out of the scheduling queue gets no event.
const listing = "the CPU reports and the VMs are still being listed"

// PreEnqueue is called before a pod may be scheduled: while nothing is known yet, for some moments after the
// scheduler's start, VMs wait quietly instead of being refused by every node.
func (pl *DedicatedCPU) PreEnqueue(_ context.Context, pod *corev1.Pod) *fwk.Status {
	if pl.started() {
		return nil
	}
	d := demandOf(pod)
	if d == nil || !d.launcher {
		return nil
	}
	// Before it is asked again, so that wakeAll finds the pod if the lists come just now: it waits for the
	// queue's lock, which is held here.
	if pl.wait(pod, d); pl.started() {
		return nil
	}
	return fwk.NewStatus(fwk.Pending, listing)
}

// started tells whether what can be known at first is known.
func (pl *DedicatedCPU) started() bool { return pl.view.Started() && !pl.vms.Starting() }
