package dedicatedcpu

import (
	"slices"
	"strings"
	"time"

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
// much of its memory and huge pages other pods have, is not, as nobody but the scheduling cycle may read it. Nor are more
// pods woken than there is room for; see turn.
func (pl *DedicatedCPU) reportChanged(logger klog.Logger, nodeName string) {
	t := &turn{node: nodeName, tried: map[types.UID]bool{}}
	pl.turns.Store(nodeName, t)
	pl.take(logger, t)
}

// turn is the pods that a changed report has tried again, so many at first as the node has room for. If there is still room
// then, because the first pods had to go elsewhere, or may not go there for a reason that is not known here, four times as many are,
// and so on: a thousand within a second. Where a thousand VMs of a kind wait for one place, one is tried. Where the room is
// for pods that are expected there it is looked again, ever less often, until the next report: a pod may not be bound
// in the end, and not every such failure is an event.
type turn struct {
	node  string
	round int // in which pods were woken
	idle  int // looks since then in which none were
	tried map[types.UID]bool
}

const (
	// turnAfter is how long the pods of a turn have to be scheduled before it is the next ones'.
	turnAfter = 150 * time.Millisecond
	// maxIdle bounds the pauses, to turnAfter times two to the power of it: five seconds.
	maxIdle = 5
)

// take wakes the pods whose turn it is.
func (pl *DedicatedCPU) take(logger klog.Logger, t *turn) {
	node, err := pl.nodes.Get(t.node)
	if err != nil { // the node's own event will wake the pods
		pl.turns.CompareAndDelete(t.node, t)
		return
	}
	chosen, more := pl.choose(logger, node, t)
	pl.activate(logger, t.node, chosen)
	if !more {
		pl.turns.CompareAndDelete(t.node, t)
		return
	}
	if len(chosen) > 0 {
		t.round, t.idle = t.round+1, 0
	} else {
		t.round, t.idle = 0, min(t.idle+1, maxIdle)
	}
	time.AfterFunc(turnAfter<<t.idle, func() {
		if now, _ := pl.turns.Load(t.node); now == t { // else there has been another report since
			pl.take(logger, t)
		}
	})
}

// choose gives the pods whose turn it is, and tells whether there may be more. Most reports leave no room for most that wait.
func (pl *DedicatedCPU) choose(logger klog.Logger, node *corev1.Node, t *turn) (chosen []*corev1.Pod, more bool) {
	waiters := pl.waiting.all()
	rooms := map[string]int{} // for how many more of a shape there is room
	var hopeful []waiter
	for _, w := range waiters {
		if t.tried[w.pod.UID] {
			continue
		}
		if _, held := w.demand.heldAt.Load(node.Name); held {
			t.tried[w.pod.UID] = true
			chosen = append(chosen, w.pod)
			continue
		}
		room, known := rooms[w.shape]
		if !known {
			if room = pl.room(node, w.demand, len(waiters)); room > 0 {
				room <<= 2 * t.round
			}
			rooms[w.shape] = room
		}
		if room != none {
			hopeful = append(hopeful, w)
		}
	}
	slices.SortFunc(hopeful, byTurn)
	for _, w := range hopeful {
		room := rooms[w.shape]
		if room == 0 && more || !reaches(logger, node, w.pod) {
			continue
		}
		if room == 0 {
			more = true
			continue
		}
		t.tried[w.pod.UID] = true
		chosen = append(chosen, w.pod)
		rooms[w.shape]--
	}
	return chosen, more
}

// none tells that there is no room for a pod, even if those that are expected do not come.
const none = -1

// room is how many pods with a demand, no more than most, a node could take beside those that are expected there.
func (pl *DedicatedCPU) room(node *corev1.Node, d *demand, most int) int {
	// The label's own event wakes the pods where that is what is missing.
	if d.launcher && !pl.eligible(node) || pl.judge(d, pl.view.AtBest(node, &d.Demand)) != nil {
		return none
	}
	return pl.view.Room(node, &d.Demand, most)
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
	var pods []*corev1.Pod
	for _, w := range pl.waiting.all() {
		pods = append(pods, w.pod)
	}
	pl.activate(logger, "", pods)
}

// activate has the scheduling queue try pods again at once.
func (pl *DedicatedCPU) activate(logger klog.Logger, nodeName string, pods []*corev1.Pod) {
	if len(pods) == 0 {
		return
	}
	byName := map[string]*corev1.Pod{} // as the queue wants them
	for _, pod := range pods {
		byName[pod.Namespace+"/"+pod.Name] = pod
	}
	logger.V(2).Info("trying waiting pods again", "node", nodeName, "pods", len(pods))
	woken.Add(float64(len(pods)))
	pl.queue.Activate(logger, byName)
}
