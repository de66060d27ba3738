// SPDX-License-Identifier: Apache-2.0

package wakeup

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"
)

// Waker wakes pending pods. All methods may be called from any goroutine.
type Waker struct {
	logger klog.Logger
	nodes  corelisters.NodeLister
	pods   corelisters.PodLister
	queue  fwk.PodActivator
	clock  clock.WithDelayedExecution

	mu      sync.Mutex
	pending map[types.UID]*pendingPod
	classes map[string]map[types.UID]*pendingPod // the same by class
	rounds  map[string]*wakeRounds               // the latest of each node, by name
	ended   bool
}

// New returns a Waker whose timers end with ctx.
func New(ctx context.Context, nodes corelisters.NodeLister, pods corelisters.PodLister, queue fwk.PodActivator, clock clock.WithDelayedExecution) *Waker {
	w := &Waker{
		logger:  klog.FromContext(ctx),
		nodes:   nodes,
		pods:    pods,
		queue:   queue,
		clock:   clock,
		pending: map[types.UID]*pendingPod{},
		classes: map[string]map[types.UID]*pendingPod{},
		rounds:  map[string]*wakeRounds{},
	}
	context.AfterFunc(ctx, w.end)
	return w
}

// end stops all timers.
func (w *Waker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, p := range w.pending {
		p.stopRetry()
	}
	for _, r := range w.rounds {
		if r.timer != nil {
			r.timer.Stop()
		}
	}
}

// wakeRounds are the rounds that one changed report starts. The first round wakes as many pods as the node has room for.
// If room is left after a pause, because the pods had to go elsewhere, the next round wakes four times as many. A thousand
// pods are tried within a second. If a thousand pods of a class wait for one place, one is tried.
//
// A round that wakes nobody makes the pauses longer. That is so while the room is for pods that are expected there: such
// a pod may still not be bound, and not every such failure is an event. It is so too where the room is only estimated:
// pods that go there are not seen before the next report.
type wakeRounds struct {
	node string
	// frees is false if nothing is free that was not before, as far as the report tells.
	frees bool
	grown int // rounds in a row that woke pods for a room that is known exactly
	idle  int // rounds in a row that did not
	tried map[types.UID]bool
	timer clock.Timer // of the next round
}

// RoundPause is how long the pods of a round have to be scheduled before the next round. Rounds that wake nobody double
// it, to MaxPause at most.
const (
	RoundPause = 150 * time.Millisecond
	MaxPause   = RoundPause << maxIdle

	maxIdle = 5
)

// ReportChanged starts the rounds of a node's new report, in place of those of the report before. frees is false if nothing is
// free that was not before.
func (w *Waker) ReportChanged(nodeName string, frees bool) {
	r := &wakeRounds{node: nodeName, frees: frees, tried: map[types.UID]bool{}}
	w.mu.Lock()
	before := w.rounds[nodeName]
	if before != nil {
		r.frees = r.frees || before.frees // not everybody has been woken for what that report freed
		if before.timer != nil {
			before.timer.Stop()
		}
	}
	w.rounds[nodeName] = r
	w.mu.Unlock()
	w.round(r)
}

// round wakes the pods of one round and schedules the next.
func (w *Waker) round(r *wakeRounds) {
	node, err := w.nodes.Get(r.node)
	if err != nil { // the event of a new Node will wake the pods
		w.finish(r)
		return
	}
	picked := w.pick(node, r)
	w.Activate(klog.LoggerWithValues(w.logger, "node", r.node), picked.pods)
	if !picked.more {
		w.finish(r)
		return
	}
	if len(picked.pods) > 0 && picked.exact {
		r.grown++
		r.idle = 0
	} else {
		r.grown = 0
		r.idle = min(r.idle+1, maxIdle)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rounds[r.node] != r || w.ended {
		return // there has been another report since
	}
	r.timer = w.clock.AfterFunc(RoundPause<<r.idle, func() {
		if w.current(r) {
			w.round(r)
		}
	})
}

// current reports whether no newer report has come.
func (w *Waker) current(r *wakeRounds) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rounds[r.node] == r && !w.ended
}

// finish forgets rounds that are over.
func (w *Waker) finish(r *wakeRounds) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rounds[r.node] == r {
		delete(w.rounds, r.node)
	}
}

// picked are the pods of one round.
type picked struct {
	pods  []*corev1.Pod
	more  bool // there may be pods for another round
	exact bool // the room of all classes is known exactly
}

// pick returns the pods of the next round. Most reports leave no room for most classes, and then their pods are not looked at
// one by one.
func (w *Waker) pick(node *corev1.Node, r *wakeRounds) picked {
	held, asking, waiting := w.asking(node.Name, r)
	result := picked{pods: held, exact: true}
	rooms := map[string]int{} // for how many more pods of a class there is room
	for i := range asking {
		p := &asking[i]
		room, exact := r.room(p, node, waiting)
		result.exact = result.exact && (exact || room == NoCapacity)
		if room != NoCapacity {
			rooms[p.class] = room
		}
	}
	for _, p := range w.candidates(rooms, r) {
		room := rooms[p.class]
		if room == 0 && result.more || !Reaches(w.logger, node, p.pod) {
			continue
		}
		if room == 0 {
			result.more = true
			continue
		}
		r.tried[p.pod.UID] = true
		result.pods = append(result.pods, p.pod)
		rooms[p.class]--
	}
	return result
}

// asking returns the pods that wait for a node's report, which are tried by that, one pod of each class that may be woken
// besides, and how many pods a report can wake in all.
func (w *Waker) asking(nodeName string, r *wakeRounds) (held []*corev1.Pod, asking []pendingPod, waiting int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pods := range w.classes {
		var one *pendingPod
		for uid, p := range pods {
			if p.demand == nil {
				continue
			}
			waiting++
			switch {
			case r.tried[uid]:
			case p.demand.HeldAt(nodeName):
				r.tried[uid] = true
				held = append(held, p.pod)
			default:
				one = p
			}
		}
		if one != nil {
			asking = append(asking, *one)
		}
	}
	return held, asking, waiting
}

// candidates returns the pods of some classes that have not been tried yet, the most important first.
func (w *Waker) candidates(classes map[string]int, r *wakeRounds) []pendingPod {
	w.mu.Lock()
	defer w.mu.Unlock()
	var pods []pendingPod
	for class := range classes {
		for uid, p := range w.classes[class] {
			if p.demand != nil && !r.tried[uid] {
				pods = append(pods, *p)
			}
		}
	}
	sortByImportance(pods)
	return pods
}

// room is for how many more pods of a class this round wakes. Where the room is only estimated, and nothing is free that was not
// before, the report helps nobody.
func (r *wakeRounds) room(p *pendingPod, node *corev1.Node, limit int) (room int, exact bool) {
	room, exact = p.demand.Capacity(node, limit)
	switch {
	case !exact && !r.frees:
		return NoCapacity, false
	case room > 0 && exact:
		room <<= 2 * r.grown
	}
	return room, exact
}

// WakeAll wakes all pods that wait, for example when the first list of the reports has come.
func (w *Waker) WakeAll() {
	var pods []*corev1.Pod
	for _, p := range w.waiting() {
		pods = append(pods, p.pod)
	}
	w.Activate(w.logger, pods)
}

// Activate makes the scheduling queue try pods again at once.
func (w *Waker) Activate(logger klog.Logger, pods []*corev1.Pod) {
	if len(pods) == 0 {
		return
	}
	byName := map[string]*corev1.Pod{}
	for _, pod := range pods {
		byName[pod.Namespace+"/"+pod.Name] = pod
	}
	logger.V(2).Info("trying pending pods again", "pods", len(pods))
	w.queue.Activate(logger, byName)
}
