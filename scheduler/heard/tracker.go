// SPDX-License-Identifier: Apache-2.0

package heard

import (
	"cmp"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/nodereport"
)

// Tracker decides which nodes are heard from. It has no clock and no goroutine of its own.
type Tracker struct {
	// after is for how long an agent's pod is unready before its node is silent.
	after time.Duration
	// pod gives a pod as it is now, nil where there is none.
	pod func(types.NamespacedName) *corev1.Pod

	mu    sync.Mutex
	nodes map[string]*node // those whose report names a pod
	byPod map[types.NamespacedName]string
	// unready are the nodes whose agent's pod is not ready now: those for which time passes.
	unready map[string]*node
	// began reports that the pods have been listed.
	began bool
}

// node is a node whose report names a pod.
type node struct {
	name    string
	agent   v1alpha1.AgentPod
	seen    nodereport.Seen // as the report has it
	version string          // of the report
	// since is when the agent's pod was first found not to be ready; zero while it is.
	since  time.Time
	silent bool
}

// Turn is a node that has become silent, or is heard from again.
type Turn struct {
	Node   string
	Silent bool
	// Since is when a silent node was last heard from.
	Since time.Time
}

// NewTracker gives a Tracker that knows no node.
func NewTracker(after time.Duration, pod func(types.NamespacedName) *corev1.Pod) *Tracker {
	return &Tracker{after: after, pod: pod, nodes: map[string]*node{}, byPod: map[types.NamespacedName]string{}, unready: map[string]*node{}}
}

// Reported takes a node's report. It gives whether the node is silent at present, and since when.
func (t *Tracker) Reported(name, version string, report *nodereport.Report, now time.Time) (since time.Time, silent bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[name]
	if report.Agent == (v1alpha1.AgentPod{}) {
		t.forget(name)
		return time.Time{}, false
	}
	if n == nil || n.agent != report.Agent {
		silent = n != nil && n.silent
		t.forget(name)
		n = &node{name: name, agent: report.Agent, silent: silent}
		t.nodes[name] = n
		t.byPod[key(report.Agent)] = name
	}
	n.seen = report.Seen
	n.version = version
	t.look(n, now)
	return n.saidSince(), n.silent
}

// Deleted takes that a node's report is gone.
func (t *Tracker) Deleted(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(name)
}

func (t *Tracker) forget(name string) {
	n := t.nodes[name]
	if n == nil {
		return
	}
	delete(t.nodes, name)
	delete(t.unready, name)
	if t.byPod[key(n.agent)] == name {
		delete(t.byPod, key(n.agent))
	}
}

// PodChanged takes that a pod has come, changed or gone. It gives the node whose agent it is, "" for a pod that is no
// agent's: then it costs one look into a map.
func (t *Tracker) PodChanged(name types.NamespacedName, now time.Time) (node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	node, isAgent := t.byPod[name]
	if isAgent {
		t.look(t.nodes[node], now)
	}
	return node
}

// look finds whether the agent's pod is ready now.
func (t *Tracker) look(n *node, now time.Time) {
	if nodereport.Heard(n.agent, t.pod(key(n.agent))) {
		n.since = time.Time{}
	} else if n.since.IsZero() {
		n.since = now
	}
	if n.since.IsZero() && !n.silent {
		delete(t.unready, n.name)
		return
	}
	t.unready[n.name] = n
}

// Step gives the nodes that have turned since the last Step. The first time that the pods have been listed counts as
// now: before that no pod could be found.
func (t *Tracker) Step(now time.Time, listed bool) []Turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !listed {
		return nil
	}
	if !t.began {
		t.began = true
		for _, n := range t.nodes {
			n.since = time.Time{}
			t.look(n, now)
		}
	}
	var turns []Turn
	for name, n := range t.unready {
		switch {
		case n.since.IsZero():
			n.silent = false
			delete(t.unready, name)
			turns = append(turns, Turn{Node: name})
		case !n.silent && (now.Sub(n.since) >= t.after || n.seen.Status == metav1.ConditionFalse):
			// Who was there before has decided already where the report says so.
			n.silent = true
			turns = append(turns, Turn{Node: name, Silent: true, Since: n.saidSince()})
		}
	}
	slices.SortFunc(turns, func(a, b Turn) int { return cmp.Compare(a.Node, b.Node) })
	return turns
}

// saidSince is when the node was last heard from, as far as anybody knows: a scheduler that was there before may have
// written down an earlier moment.
func (n *node) saidSince() time.Time {
	if n.seen.Status == metav1.ConditionFalse && (n.since.IsZero() || n.seen.Since.Before(n.since)) {
		return n.seen.Since
	}
	return n.since
}

// Silent is the number of silent nodes.
func (t *Tracker) Silent() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	silent := 0
	for _, n := range t.unready {
		if n.silent {
			silent++
		}
	}
	return silent
}

// Due is what condition Seen of a node's report has to say and does not; ok is false where it is right, or where nobody can
// tell. version is that of the report that does not say it.
func (t *Tracker) Due(name string) (due Condition, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[name]
	if n == nil || !t.began {
		return Condition{}, false
	}
	due = Condition{Seen: !n.silent, Since: n.saidSince(), Version: n.version, Before: n.seen.Status}
	switch {
	case n.silent:
		return due, n.seen.Status != metav1.ConditionFalse
	case !n.since.IsZero():
		return Condition{}, false // it will be decided in a moment
	}
	return due, n.seen.Status != metav1.ConditionTrue
}

// All are the names of the nodes whose report names a pod.
func (t *Tracker) All() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := make([]string, 0, len(t.nodes))
	for name := range t.nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Condition is what condition Seen has to say.
type Condition struct {
	Seen bool
	// Since is when a silent node was last heard from.
	Since time.Time
	// Version is the resource version of the report that says something else, and Before what that says.
	Version string
	Before  metav1.ConditionStatus
}

func key(agent v1alpha1.AgentPod) types.NamespacedName {
	return types.NamespacedName{Namespace: agent.Namespace, Name: agent.Name}
}
