// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/standstill"
)

// View is what the scheduler knows of all nodes. New makes one. All methods may be called from any goroutine.
type View struct {
	clock clock.WithTicker
	began time.Time
	cache predictionCache
	calls *standstill.Calls
	// forgotten is called with the name of a node whose predictions do not hold any more.
	forgotten func(nodeName string)

	mu    sync.RWMutex
	nodes map[string]*node // by name, for nodes that have a report or had one not long ago

	listed   atomic.Bool
	unlisted atomic.Bool
	// relisted is when the reports could be listed after they could not; nil if they always could.
	relisted atomic.Pointer[time.Time]
}

// New makes a view that knows nothing yet.
func New(clock clock.WithTicker) *View {
	nobody := func(string) {}
	return &View{clock: clock, began: clock.Now(), nodes: map[string]*node{}, calls: standstill.New(clock), forgotten: nobody}
}

// Forgetting sets what is called with each node whose predictions do not hold any more, although its NodeInfo may be the same. It must be
// called before the view is used. tell must not wait, nor ask the view.
func (v *View) Forgetting(tell func(nodeName string)) { v.forgotten = tell }

// Now is the time by the view's clock.
func (v *View) Now() time.Time { return v.clock.Now() }

// Calls are the questions that are being answered, for whoever watches that they end.
func (v *View) Calls() *standstill.Calls { return v.calls }

// Change is what a report has changed.
type Change struct {
	// Before and After are the node's reports; Before is nil for its first.
	Before, After *nodereport.Report
	// Changed reports whether anything changed that a verdict depends on.
	Changed bool
	// Unseen reports that pods may have held CPUs between the two reports, and that neither has them.
	Unseen bool
}

// Set takes a node's report, in place of the one before.
func (v *View) Set(name string, report *nodereport.Report) Change {
	n := v.nodeFor(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.set(n.asHeard(report), v.clock.Now(), true)
}

// set takes a report as predictions are made from it. spoken is false if the agent has not written it anew.
func (n *node) set(report *nodereport.Report, now time.Time, spoken bool) Change {
	change := Change{Before: n.report, After: report}
	if report.Same(n.report) {
		// Only the words of Why may differ: what was predicted still holds. But the agent may have answered once more.
		n.report = report
		if !spoken {
			return change
		}
		if n.absence.boot != "" {
			n.absence.boot = ""
			n.forget()
		}
		if n.uncertainty.answered(now, n.covers) {
			n.forget()
		}
		return change
	}
	change.Changed = true
	n.countFreed(report)
	n.absence.replaced(n.report, report, now)
	n.report = report
	n.fingerprint = 0
	n.forget()
	if spoken {
		change.Unseen = n.uncertainty.reported(now, n.covers)
	}
	n.keepGone()
	return change
}

// Delete forgets a node's report. It reports whether there was one.
func (v *View) Delete(name string) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.nodes[name]
	if n == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.report == nil {
		return false
	}
	after := v.newNode(name)
	after.absence = n.absence
	after.absence.replaced(n.report, nil, v.clock.Now())
	after.uncertainty.told = n.uncertainty.heard()
	v.nodes[name] = after
	n.report = nil
	n.forget()
	return true
}

// Report returns the report of a node; one that says why where there is none.
func (v *View) Report(name string) *nodereport.Report {
	n := v.node(name)
	if n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.report != nil {
			return n.report
		}
	}
	return v.absent()
}

// Assumed takes a pod that this scheduler is to bind to a node, and what it asks for.
func (v *View) Assumed(nodeName string, pod *corev1.Pod, asks *admission.Pod) {
	n := v.node(nodeName)
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	judged := n.judged
	if !n.uncertainty.known {
		judged = n.uncertainty.changes // only simulations were asked about the node
	}
	n.uncertainty.assumed(pod, asks, claim{after: n.left, judged: judged})
}

// Bound takes a pod that is bound to a node: its kubelet hears of it.
func (v *View) Bound(nodeName string, uid types.UID) {
	n := v.node(nodeName)
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.uncertainty.hears(uid) {
		n.forget()
	}
}

// Unbound takes a pod that was assumed on a node and is not bound in the end. As far as is known no kubelet has heard of it,
// so nothing depends on it. If it was bound in spite of that, Bound or Left follows.
func (v *View) Unbound(nodeName string, pod *corev1.Pod) {
	n := v.node(nodeName)
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	asks := admission.PodOf(pod)
	if n.uncertainty.unbound(verdict.UIDOnNode(pod), &asks) {
		n.forget()
	}
}

// Left takes a pod that has left a node for good. It may come before any NodeInfo shows it.
func (v *View) Left(nodeName string, pod *corev1.Pod) {
	n := v.node(nodeName)
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	uid := verdict.UIDOnNode(pod)
	if n.reports(uid) {
		n.addGone(uid)
		return
	}
	asks := admission.PodOf(pod)
	if n.mayDecide(pod) && n.uncertainty.left(uid, &asks) {
		n.forget()
	}
}

// Awaited reports whether a node's kubelet decides about a pod (admission.Node.Decides) that its exact report does not show, and
// the next report is expected to.
func (v *View) Awaited(nodeName string, pod *corev1.Pod) bool {
	n := v.node(nodeName)
	if n == nil || !verdict.MayHold(pod) {
		return false
	}
	asks := admission.PodOf(pod)
	n.mu.Lock()
	defer n.mu.Unlock()
	uid := verdict.UIDOnNode(pod)
	return n.exact() && n.report.Node.Decides(&asks) && !n.covers(uid, &asks) && n.uncertainty.awaits(uid, pod, v.clock.Now())
}

// Started reports whether the reports have been listed, or cannot be.
func (v *View) Started() bool { return v.listed.Load() || v.unlisted.Load() }

func (v *View) node(name string) *node {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.nodes[name]
}

// nodeFor is node, made where there is none.
func (v *View) nodeFor(name string) *node {
	n := v.node(name)
	if n != nil {
		return n
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.nodes[name] == nil {
		v.forgetLost()
		v.nodes[name] = v.newNode(name)
	}
	return v.nodes[name]
}

func (v *View) newNode(name string) *node {
	return &node{view: v, name: name, uncertainty: uncertainty{began: v.began}}
}

// The reports of nodes without one.
var (
	missing  = nodereport.Absent(nodereport.Missing)
	unlisted = nodereport.Absent(nodereport.Unlisted)
	starting = nodereport.Absent(nodereport.Starting)
)

// absent is the report of a node that has none.
func (v *View) absent() *nodereport.Report {
	switch {
	case v.listed.Load():
		return missing
	case v.unlisted.Load():
		return unlisted
	}
	return starting
}
