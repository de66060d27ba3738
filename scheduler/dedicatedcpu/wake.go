package dedicatedcpu

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/scheduler/nodeview"
)

// reportChanged is called when a node's report has changed: it wakes the waiting pods that the node could
// now take, and those that the node held back because of pods in flight: even if it is full, it can now
// say so, and preemption can do its work.
func (pl *DedicatedCPU) reportChanged(logger klog.Logger, nodeName string) {
	pl.wake(logger, nodeName, func(d *demand) bool {
		node, err := pl.nodes.Get(nodeName)
		if err != nil || (d.launcher && !pl.eligible(node)) {
			return false // the node's own event, or the label's, will wake the pod
		}
		fits, standing := pl.view.CouldFit(node, &d.Demand)
		return fits || (standing != nodeview.Exact && pl.estimates(d, standing))
	})
}

// wakeAll is called when the first listing of the reports has come to an end: pods may have been held
// back for it.
func (pl *DedicatedCPU) wakeAll(logger klog.Logger) {
	pl.wake(logger, "", func(*demand) bool { return true })
}

// wake activates the waiting pods that the node held back or whose demand has a chance, asking once for
// each different demand.
func (pl *DedicatedCPU) wake(logger klog.Logger, nodeName string, chance func(*demand) bool) {
	pods := pl.waiting.choose(nodeName, chance)
	if len(pods) == 0 {
		return
	}
	logger.V(2).Info("trying waiting pods again", "node", nodeName, "pods", len(pods))
	woken.Add(float64(len(pods)))
	pl.queue.Activate(logger, pods)
}

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
}

func newWaiting() *waiting { return &waiting{pods: map[types.UID]waiter{}} }

func (w *waiting) add(pod *corev1.Pod, d *demand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods[pod.UID] = waiter{pod, d}
}

func (w *waiting) remove(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pods, uid)
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

// choose gives the pods that the node held back or whose demand has a chance, by namespace and name as
// the scheduling queue wants them.
func (w *waiting) choose(nodeName string, chance func(*demand) bool) map[string]*corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	type question struct {
		key      string
		launcher bool
	}
	asked := map[question]bool{}
	pods := map[string]*corev1.Pod{}
	for _, waiter := range w.pods {
		q := question{waiter.demand.Key, waiter.demand.launcher}
		yes, known := asked[q]
		if !known {
			yes = chance(waiter.demand)
			asked[q] = yes
		}
		if _, held := waiter.demand.heldAt.Load(nodeName); yes || held {
			pods[waiter.pod.Namespace+"/"+waiter.pod.Name] = waiter.pod
		}
	}
	return pods
}

// forgetDeleted handles the events of kube-scheduler's pod watch: a pod deleted while it waits waits no
// more, and one that leaves its node frees CPUs.
func (pl *DedicatedCPU) forgetDeleted(ctx context.Context) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{DeleteFunc: func(object any) {
		if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = unknown.Obj
		}
		if pod, ok := object.(*corev1.Pod); ok {
			pl.waiting.remove(pod.UID)
			pl.left(ctx, pod)
		}
	}}
}
