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

	mu    sync.RWMutex
	nodes map[string]*node // by name, for nodes that have a report

	listed   atomic.Bool
	unlisted atomic.Bool
}

// New makes a view that knows nothing yet.
func New(clock clock.WithTicker) *View {
	return &View{clock: clock, began: clock.Now(), nodes: map[string]*node{}, calls: standstill.New(clock)}
}

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
	return n.set(n.asHeard(report), v.clock.Now())
}

// set takes a report as predictions are made from it.
func (n *node) set(report *nodereport.Report, now time.Time) Change {
	change := Change{Before: n.report, After: report}
	if report.Same(n.report) {
		// Only the words of Why may differ: what was predicted still holds.
		n.report = report
		return change
	}
	change.Changed = true
	n.report = report
	n.forget()
	change.Unseen = n.uncertainty.reported(now, n.covers)
	n.keepGone()
	return change
}

// Delete forgets a node's report. It reports whether there was one.
func (v *View) Delete(name string) (changed bool) {
	v.mu.Lock()
	n := v.nodes[name]
	delete(v.nodes, name)
	v.mu.Unlock()
	if n == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
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

// Assumed takes a pod that this scheduler is binding to a node.
func (v *View) Assumed(nodeName string, uid types.UID, asks *admission.Pod) {
	n := v.node(nodeName)
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uncertainty.assumed(uid, asks)
}

// Left takes a pod that has left a node for good, or was not bound to it in the end. It may come before any NodeInfo shows it.
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
	} else if verdict.AsksCPUs(pod) && n.uncertainty.left(uid) {
		n.forget()
	}
}

// InFlight reports whether a node's kubelet decides about a pod (admission.Node.Decides) that its exact report does not show.
func (v *View) InFlight(nodeName string, pod *corev1.Pod) bool {
	n := v.node(nodeName)
	if n == nil || !verdict.MayHold(pod) {
		return false
	}
	asks := admission.PodOf(pod)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.exact() && n.report.Node.Decides(&asks) && !n.covers(verdict.UIDOnNode(pod), &asks)
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
		v.nodes[name] = &node{view: v, uncertainty: uncertainty{began: v.began}}
	}
	return v.nodes[name]
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
