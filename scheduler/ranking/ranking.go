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
	// Looks is how many nodes to judge at most, if others that were judged before take the pod.
	Looks int
	// Now is the time for Answer.Until.
	Now time.Time
	// Judge rates a node for the kind.
	Judge func(fwk.NodeInfo) Answer
	// State is equal for nodes that Judge rates alike, whatever the kind; 0 for a node of which that is not known. It must not change
	// but with the node's generation, and when Changed is called. It may be nil.
	State func(fwk.NodeInfo) uint64
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
	best := r.pass(q, k, q.Looks)
	if best.len() == 0 {
		best = r.pass(q, k, len(q.Nodes))
	}
	return best.sorted(q.Nodes)
}

// pass looks at all nodes, and judges those that the kind does not know as they are: so many at most.
func (r *Ranking) pass(q *Question, k *kind, looks int) *best {
	found := best{most: q.Most}
	first := k.next % len(q.Nodes)
	for i := range q.Nodes {
		at := first + i
		if at >= len(q.Nodes) {
			at -= len(q.Nodes)
		}
		number := r.nodes.order[at]
		if k.seen[number] != r.nodes.version[number] {
			if looks == 0 {
				continue
			}
			looks--
			k.next = at + 1
		} else if !found.wants(k.rating[number]) {
			continue // most are like this
		}
		if r.rate(q, k, at) && found.wants(k.rating[number]) && q.Accept(q.Nodes[at]) {
			found.add(at, k.rating[number])
		}
	}
	k.next++ // so that others are first among equals
	return &found
}

// rate makes sure that the kind has the rating of a node as it is now. It reports false if that node is not listed there.
func (r *Ranking) rate(q *Question, k *kind, at int) bool {
	if !r.nodes.check(at, q.Nodes[at]) {
		return false
	}
	number := r.nodes.order[at]
	if k.seen[number] != r.nodes.version[number] {
		answer := r.answer(q, k, at)
		k.keep(number, r.nodes.version[number], answer)
		r.nodes.await(number, answer.Until)
	}
	return true
}

// answer is what Judge says, or has said of a node of the same state.
func (r *Ranking) answer(q *Question, k *kind, at int) Answer {
	if q.State == nil {
		return q.Judge(q.Nodes[at])
	}
	state := r.nodes.state(r.nodes.order[at], func() uint64 { return q.State(q.Nodes[at]) })
	answer, known := k.states[state]
	if known {
		return answer
	}
	answer = q.Judge(q.Nodes[at])
	if state != 0 && answer.Until.IsZero() {
		r.kinds.remember(k, state, answer)
	}
	return answer
}
