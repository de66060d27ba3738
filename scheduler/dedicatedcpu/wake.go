package dedicatedcpu

import (
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// reportChanged is called when a node's report has changed: it wakes the waiting pods that the node could
// now take, and those that the node held back because of pods in flight: even if it is full, it can now
// say so, and preemption can do its work.
//
// A pod that could not go there anyhow is left asleep: activation skips backoff, so a thousand VMs that wait for one zone
// would be tried anew at each report from another. What the Node says is looked at here. What only the NodeInfo says, how
// much of its memory and huge pages other pods have, is not, as nobody but the scheduling cycle may read it.
func (pl *DedicatedCPU) reportChanged(logger klog.Logger, nodeName string) {
	node, err := pl.nodes.Get(nodeName)
	if err != nil {
		return // the node's own event will wake the pods
	}
	pl.wake(logger, nodeName, chance{
		of: func(d *demand) bool {
			// The label's own event wakes the pods where that is what is missing.
			return (!d.launcher || pl.eligible(node)) && pl.judge(d, pl.view.AtBest(node, &d.Demand)) == nil
		},
		reaches: func(pod *corev1.Pod) bool { return reaches(logger, node, pod) },
	})
}

// reaches tells whether a pod could go to a node, as far as the Node says. Where it could not, and then can, afterNodeChange
// wakes it.
func reaches(logger klog.Logger, node *corev1.Node, pod *corev1.Pod) bool {
	return admits(logger, node, pod) && provides(node, pod)
}

// admits tells whether a node lets a pod in by its labels and taints.
func admits(logger klog.Logger, node *corev1.Node, pod *corev1.Pod) bool {
	matches, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	if err != nil || !matches {
		return false
	}
	// A cordoned node has a taint too.
	_, untolerated := schedulinghelpers.FindMatchingUntoleratedTaint(logger, node.Spec.Taints, pod.Spec.Tolerations, func(taint *corev1.Taint) bool {
		return taint.Effect == corev1.TaintEffectNoSchedule || taint.Effect == corev1.TaintEffectNoExecute
	}, true)
	return !untolerated
}

// provides tells whether a node has, in all, the memory, huge pages and ephemeral storage that a pod asks for. An extended
// resource that it does not have may come from a DRA driver.
func provides(node *corev1.Node, pod *corev1.Pod) bool {
	for name, asked := range resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}) {
		counted := name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
		if has := node.Status.Allocatable[name]; counted && asked.Cmp(has) > 0 {
			return false
		}
	}
	return true
}

// wakeAll is called when the first listing of the reports has come to an end: pods may have been held
// back for it.
func (pl *DedicatedCPU) wakeAll(logger klog.Logger) {
	pl.wake(logger, "", chance{
		of:      func(*demand) bool { return true },
		reaches: func(*corev1.Pod) bool { return true },
	})
}

// chance tells which pods another try could help: those whose demand has one, which is asked once for each different
// demand, and that reach the node.
type chance struct {
	of      func(*demand) bool
	reaches func(*corev1.Pod) bool
}

// wake activates the waiting pods that the node held back or that have a chance.
func (pl *DedicatedCPU) wake(logger klog.Logger, nodeName string, c chance) {
	pods := pl.waiting.choose(nodeName, c)
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

// choose gives the pods that the node held back or that have a chance, by namespace and name as
// the scheduling queue wants them.
func (w *waiting) choose(nodeName string, c chance) map[string]*corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := map[string]bool{} // by shape
	pods := map[string]*corev1.Pod{}
	for _, waiter := range w.pods {
		yes, known := asked[waiter.shape]
		if !known {
			yes = c.of(waiter.demand)
			asked[waiter.shape] = yes
		}
		if _, held := waiter.demand.heldAt.Load(nodeName); held || yes && c.reaches(waiter.pod) {
			pods[waiter.pod.Namespace+"/"+waiter.pod.Name] = waiter.pod
		}
	}
	return pods
}
