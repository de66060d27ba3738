package dedicatedcpu

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
)

// wait puts a pod among those that a report can wake. One that was deleted since its scheduling cycle began
// has been forgotten already, and would never be again.
func (pl *DedicatedCPU) wait(pod *corev1.Pod, d *demand) {
	pl.waiting.add(pod, d)
	if now, err := pl.pods.Pods(pod.Namespace).Get(pod.Name); err != nil || now.UID != pod.UID {
		pl.waiting.remove(pod.UID)
	}
}

// waiting is the pods that came as far as Filter and are not bound yet. Some are just being scheduled: for
// those the scheduling queue remembers the activation until it is known whether it is needed.
type waiting struct {
	mu   sync.Mutex
	pods map[types.UID]waiter
}

type waiter struct {
	pod    *corev1.Pod
	demand *demand
	shape  string // of the demand
}

func newWaiting() *waiting { return &waiting{pods: map[types.UID]waiter{}} }

func (w *waiting) add(pod *corev1.Pod, d *demand) {
	shape := d.shape()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods[pod.UID] = waiter{pod, d, shape}
}

func (w *waiting) remove(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pods, uid)
}

func (w *waiting) has(uid types.UID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.pods[uid]
	return ok
}

// heldAt tells whether the node held back a waiting pod.
func (w *waiting) heldAt(uid types.UID, nodeName string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiter, ok := w.pods[uid]
	if !ok {
		return false
	}
	_, held := waiter.demand.heldAt.Load(nodeName)
	return held
}

// all are the waiting pods, in no order.
func (w *waiting) all() []waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.pods))
}

// byTurn puts those first that the scheduling queue would try first: by priority, then by age.
func byTurn(a, b waiter) int {
	return cmp.Or(cmp.Compare(schedulinghelpers.PodPriority(b.pod), schedulinghelpers.PodPriority(a.pod)),
		a.pod.CreationTimestamp.Compare(b.pod.CreationTimestamp.Time), cmp.Compare(a.pod.UID, b.pod.UID))
}
