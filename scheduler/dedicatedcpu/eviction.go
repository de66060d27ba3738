// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/nodereport"
)

// reportsInTime is how long a pending VM evicts nobody while a node waits for its report, which comes within a second or
// so. A dead agent must not hold it back for longer, so the pod is tried again after that time.
const reportsInTime = 30 * time.Second

// evictedRetry is when a pod is tried again for which pods may be evicted. The end of the victims wakes it before, as a rule. But
// kube-scheduler can miss that (package wakeup, activateAgain), and would leave the pod alone for five minutes.
const evictedRetry = 2 * time.Second

// evictionRefusal says why a node that would take a VM after an eviction is refused nevertheless; nil if it is not.
func (pl *DedicatedCPU) evictionRefusal(c *cycle, pod *corev1.Pod, state nodereport.State) *refusal {
	evicts, awaited := c.evicts()
	switch {
	case evicts && c.narrowed:
		return &refusedCandidate // another node may take the VM as it is
	case awaited:
		return &refusedInFlight
	case !evicts:
		return nil
	case !c.Dedicated:
		pl.waker.RetryIn(pod.UID, evictedRetry)
		return nil
	case state != nodereport.Exact:
		return refusedState[state] // the kubelet may refuse the VM even then
	}
	remaining := reportsInTime - pl.waker.PendingFor(pod.UID)
	if c.held.Load() && remaining > 0 {
		pl.waker.RetryIn(pod.UID, remaining)
		return &refusedInFlight
	}
	pl.waker.RetryIn(pod.UID, evictedRetry)
	return nil
}
