// SPDX-License-Identifier: Apache-2.0

package ranking

import (
	"math"
	"sync"
	"time"

	fwk "k8s.io/kube-scheduler/framework"
)

// maxBytes bounds what the ratings of all kinds take: 15,000 nodes and 500 kinds.
const maxBytes = 96 << 20

// Ranking has the ratings of all nodes for all kinds. The zero value is ready. All methods may be called from any goroutine.
type Ranking struct {
	mu    sync.Mutex
	nodes roster
	kinds kinds

	changes changes
}

// Question asks for the best nodes for a pod.
type Question struct {
	// Kind is equal for pods that Judge answers alike on every node.
	Kind string
	// Nodes are all nodes. Their generations must be as kube-scheduler makes them: none is used twice, on any node.
	Nodes []fwk.NodeInfo
	// Most is how many nodes to return at most.
	Most int
	// Looks is how many nodes to judge at most, if others that were judged before take the pod. Passing is how many of them may be in
	// a state that passes.
	Looks, Passing int
	// Now is the time for Answer.Until.
	Now time.Time
	// Judge rates a node for the kind.
	Judge func(fwk.NodeInfo) Answer
	// State must not change but with the node's generation, and when Changed is called. It may be nil.
	State func(fwk.NodeInfo) State
	// Accept reports whether this very pod may go to a node, apart from what Judge has looked at. It is asked for nodes that
	// would be among the best.
	Accept func(fwk.NodeInfo) bool
}

// Answer is what a node is to a kind of pod.
type Answer struct {
	// Takes reports whether the node certainly takes the pod, and Rating how good it is then; more is better.
	Takes  bool
	Rating int64
	// Until is when the answer does not hold any more; zero if it holds until the node changes.
	Until time.Time
}

// State is the state of a node.
type State struct {
	// Hash is equal for nodes that Judge rates alike, whatever the kind; 0 for a node of which that is not known.
	Hash uint64
	// Passing reports that the node will soon have another state, and its answer with it.
	Passing bool
}

// Rated is a node that takes the pod, and how good it is.
type Rated struct {
	Node   fwk.NodeInfo
	Rating int64
}

// refused is the rating of a node that does not take the pod.
const refused = math.MinInt64

// Changed takes that ratings of a node may be wrong, although its NodeInfo may be the same. It never waits for Best.
func (r *Ranking) Changed(nodeName string) { r.changes.add(nodeName) }

// Best returns the nodes that take the pod and are rated best, the best first. Among equal nodes it takes others each time. It returns
// none only if all were judged and none takes the pod.
func (r *Ranking) Best(q *Question) []Rated {
	if len(q.Nodes) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes.update(q.Nodes, r.changes.take(), q.Now)
	k := r.kinds.get(q.Kind, r.nodes.size())
	best := r.pass(q, k, &budget{q.Looks, q.Passing})
	if best.len() == 0 {
		best = r.pass(q, k, &budget{len(q.Nodes), len(q.Nodes)})
	}
	return best.sorted(q.Nodes)
}

// budget is how many nodes may still be judged, and how many of them in a state that passes.
type budget struct {
	looks, passing int
}

// spend reports whether one more node may be judged.
func (b *budget) spend(passing bool) bool {
	if b.looks == 0 || passing && b.passing == 0 {
		return false
	}
	b.looks--
	if passing {
		b.passing--
	}
	return true
}

// pass looks at all nodes, and judges those that the kind does not know as they are, as far as the budget goes.
func (r *Ranking) pass(q *Question, k *kind, left *budget) *best {
	found := best{most: q.Most}
	first := k.next % len(q.Nodes)
	for i := range q.Nodes {
		at := first + i
		if at >= len(q.Nodes) {
			at -= len(q.Nodes)
		}
		number := r.nodes.order[at]
		if k.knows(&r.nodes, number) && !found.wants(k.rating[number]) {
			continue // most are like this
		}
		if r.rate(q, k, at, left) && found.wants(k.rating[number]) && q.Accept(q.Nodes[at]) {
			found.add(at, k.rating[number])
		}
	}
	k.next++ // so that others are first among equals
	return &found
}

// rate makes sure that the kind has the rating of a node as it is now. It reports false where it cannot: the budget is spent, or that
// node is not listed there.
func (r *Ranking) rate(q *Question, k *kind, at int, left *budget) bool {
	if !r.nodes.check(at, q.Nodes[at]) {
		return false
	}
	number := r.nodes.order[at]
	if k.knows(&r.nodes, number) {
		return true
	}
	var state State
	if q.State != nil {
		state = r.nodes.state(number, func() State { return q.State(q.Nodes[at]) })
	}
	answer, known := k.states[state.Hash]
	if !known {
		if !left.spend(state.Passing) {
			return false
		}
		k.next = at + 1
		answer = q.Judge(q.Nodes[at])
		if state.Hash != 0 && answer.Until.IsZero() {
			r.kinds.remember(k, state.Hash, answer)
		}
	}
	k.keep(number, r.nodes.version[number], answer)
	r.nodes.await(number, answer.Until)
	return true
}
