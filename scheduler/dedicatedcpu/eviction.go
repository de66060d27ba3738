package dedicatedcpu

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/nodereport"
)

// reportsInTime is how long a pending VM evicts nobody while a node waits for its report, which comes within a second or
// so. A dead agent must not hold it back for longer, so the pod is tried again after that time.
const reportsInTime = 30 * time.Second

// evictionRefusal says why a node that would take a VM after an eviction is refused nevertheless; nil if it is not.
func (pl *DedicatedCPU) evictionRefusal(c *cycle, pod *corev1.Pod, state nodereport.State) *refusal {
	evicts, awaited := c.evicts()
	switch {
	case awaited:
		return &refusedInFlight
	case !evicts || !c.Dedicated:
		return nil
	case state != nodereport.Exact:
		return refusedState[state] // the kubelet may refuse the VM even then
	case !c.held.Load():
		return nil
	}
	remaining := reportsInTime - pl.waker.PendingFor(pod.UID)
	if remaining <= 0 {
		return nil
	}
	pl.waker.RetryIn(pod.UID, remaining)
	return &refusedInFlight
}
