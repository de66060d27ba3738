// SPDX-License-Identifier: Apache-2.0

package wakeup

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/utils/clock"
)

// Demand is what a pending pod asks for.
type Demand interface {
	// Class is equal for demands that every node answers alike.
	Class() string
	// HeldAt reports whether the node could not answer because of pods in flight.
	HeldAt(nodeName string) bool
	// Capacity returns how many pods of this class, at most limit, a node has room for beside those expected there. It
	// is NoCapacity if there is no room even if those do not come. exact is false if the number is only an estimate.
	Capacity(node *corev1.Node, limit int) (pods int, exact bool)
}

// NoCapacity says that a node has no room for a pod, even if the pods that are expected there do not come.
const NoCapacity = -1

// pendingPod is a pod from its first Filter until it is bound or deleted.
type pendingPod struct {
	pod   *corev1.Pod
	class string
	// demand is nil while a scheduling cycle has not come as far as Filter.
	demand    Demand
	firstSeen time.Time
	// retry wakes the pod once, at retryAt; nil if it is not set.
	retry   clock.Timer
	retryAt time.Time
	// activated is set from the retry until the cycle that it caused. The retry is repeated meanwhile.
	activated bool
}

// activateAgain is when an activation is repeated that no scheduling cycle followed. A plugin at PreEnqueue has kept the pod
// out of the queue then: DefaultPreemption does while it evicts for the pod. The event that would let it in may have come
// before the eviction's end, where victims were pods in PreBind (kubernetes/kubernetes issue 140082; executor.go in
// pkg/scheduler/framework/preemption, v1.36.3).
const activateAgain = 10 * time.Second

// Add puts a pod among those that a report can wake. Some are just being scheduled: for those the scheduling queue
// remembers the activation.
func (w *Waker) Add(pod *corev1.Pod, demand Demand) {
	w.put(pod, demand)
	// A pod deleted during its cycle has already had its delete event; adding it now would leak it.
	now, err := w.pods.Pods(pod.Namespace).Get(pod.Name)
	if err != nil || now.UID != pod.UID {
		w.Remove(pod.UID)
	}
}

func (w *Waker) put(pod *corev1.Pod, demand Demand) {
	class := demand.Class()
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pending[pod.UID]
	if p == nil {
		p = &pendingPod{firstSeen: w.clock.Now()}
		w.pending[pod.UID] = p
	}
	if p.class != class {
		w.leaveClass(pod.UID, p)
	}
	p.pod = pod
	p.class = class
	p.demand = demand
	if w.classes[class] == nil {
		w.classes[class] = map[types.UID]*pendingPod{}
	}
	w.classes[class][pod.UID] = p
}

// leaveClass takes a pod out of its class. The caller holds w.mu.
func (w *Waker) leaveClass(uid types.UID, p *pendingPod) {
	delete(w.classes[p.class], uid)
	if len(w.classes[p.class]) == 0 {
		delete(w.classes, p.class)
	}
}

// Begin says that a scheduling cycle of the pod begins. Reports do not wake it until Add.
func (w *Waker) Begin(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pending[uid]
	if p == nil {
		return
	}
	p.demand = nil
	if p.activated {
		p.activated = false
		p.stopRetry()
	}
}

// Remove forgets a pod that is bound or deleted.
func (w *Waker) Remove(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pending[uid]
	if p == nil {
		return
	}
	p.stopRetry()
	delete(w.pending, uid)
	w.leaveClass(uid, p)
}

// HeldAt reports whether a pending pod waits for the report of a node.
func (w *Waker) HeldAt(uid types.UID, nodeName string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pending[uid]
	return p != nil && p.demand != nil && p.demand.HeldAt(nodeName)
}

// PendingFor returns for how long the scheduler has known a pod. It does not use the pod's creation time: that is the
// API server's clock, which may be ahead of this one.
func (w *Waker) PendingFor(uid types.UID) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pending[uid]
	if p == nil {
		return 0
	}
	return w.clock.Since(p.firstSeen)
}

// RetryIn wakes a pod after a delay if it is still pending then. A pod has one such timer, for the earliest of the times
// that it was asked for.
func (w *Waker) RetryIn(uid types.UID, delay time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pending[uid]
	if p == nil || w.ended {
		return
	}
	if p.retry != nil && !w.clock.Now().Add(delay).Before(p.retryAt) {
		return
	}
	p.stopRetry()
	p.activated = false
	w.startRetry(uid, p, delay)
}

// startRetry starts a pod's timer. The caller holds w.mu.
func (w *Waker) startRetry(uid types.UID, p *pendingPod, delay time.Duration) {
	p.retryAt = w.clock.Now().Add(delay)
	p.retry = w.clock.AfterFunc(delay, func() { w.retry(uid) })
}

func (p *pendingPod) stopRetry() {
	if p.retry != nil {
		p.retry.Stop()
		p.retry = nil
	}
}

// retry is called by a pod's timer.
func (w *Waker) retry(uid types.UID) {
	w.mu.Lock()
	p := w.pending[uid]
	if p == nil || w.ended {
		w.mu.Unlock()
		return
	}
	p.retry = nil
	waits := p.demand != nil
	pod := p.pod
	if waits {
		p.activated = true
		w.startRetry(uid, p, activateAgain)
	}
	w.mu.Unlock()
	if waits {
		w.Activate(w.logger, []*corev1.Pod{pod})
	}
}

// waiting returns the pods that a report can wake, in no order.
func (w *Waker) waiting() []pendingPod {
	w.mu.Lock()
	defer w.mu.Unlock()
	pods := make([]pendingPod, 0, len(w.pending))
	for p := range maps.Values(w.pending) {
		if p.demand != nil {
			pods = append(pods, *p)
		}
	}
	return pods
}

// Len is the number of pods that a report can wake.
func (w *Waker) Len() int { return len(w.waiting()) }

// sortByImportance sorts pods as the scheduling queue does: by priority, then by age.
func sortByImportance(pods []pendingPod) {
	slices.SortFunc(pods, func(a, b pendingPod) int {
		return cmp.Or(
			cmp.Compare(schedulinghelpers.PodPriority(b.pod), schedulinghelpers.PodPriority(a.pod)),
			a.pod.CreationTimestamp.Compare(b.pod.CreationTimestamp.Time),
			cmp.Compare(a.pod.UID, b.pod.UID),
		)
	})
}
