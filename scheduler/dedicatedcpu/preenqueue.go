// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// listing is why a pod is not scheduled yet. It is in kube-scheduler's log only: a pod that is kept out of the scheduling
// queue gets no event.
const listing = "the CPU reports and the VMs are still being listed"

// PreEnqueue is called before a pod enters the scheduling queue. VMs wait there while the scheduler lists reports and
// VMs after its start; every node would refuse them.
func (pl *DedicatedCPU) PreEnqueue(_ context.Context, pod *corev1.Pod) *fwk.Status {
	if pl.started() {
		return nil
	}
	d := pl.podDemand(pod)
	if d == nil || !d.Dedicated {
		return nil
	}
	// Added before the lists are checked again, so that wakeAll finds the pod if they come now. Its activation waits
	// for the queue's lock, which is held here.
	pl.waker.Add(pod, pl.pendingDemand(d, newFindings()))
	if pl.started() {
		return nil
	}
	return fwk.NewStatus(fwk.Pending, listing)
}

// started reports whether the first lists have come or have failed.
func (pl *DedicatedCPU) started() bool { return pl.view.Started() && !pl.vms.Starting() }
