// SPDX-License-Identifier: Apache-2.0

package ranking

import (
	"sync"
	"time"

	fwk "k8s.io/kube-scheduler/framework"
)

// checks is how many nodes are checked for a new generation in a cycle, if that is not less than a tenth.
const checks = 500

// roster numbers the nodes, and knows which have changed.
type roster struct {
	numbers map[string]int32
	free    []int32 // numbers of nodes that are not listed any more
	// order has the numbers of the nodes as they are listed, and next is the place that is checked next.
	order []int32
	next  int
	// moved reports that nodes are not listed as they were.
	moved bool
	// By number: name, the generation last seen, the version, which is never 0 and never the same again, and when the version
	// changes by itself, in nanoseconds since 1970; 0 if it does not.
	name       []string
	generation []int64
	version    []uint32
	until      []int64
	states     []knownState
}

// knownState is what Question.State has said of a version.
type knownState struct {
	version uint32
	state   State
}

// size is how many numbers there are.
func (r *roster) size() int { return len(r.version) }

// update takes the nodes as they are listed now, and the names of those that have changed otherwise.
func (r *roster) update(nodes []fwk.NodeInfo, changed map[string]struct{}, now time.Time) {
	for name := range changed {
		number, known := r.numbers[name]
		if known {
			r.version[number]++
		}
	}
	if r.moved || len(nodes) != len(r.order) {
		r.list(nodes)
	}
	for range max(checks, len(nodes)/10) {
		r.next = (r.next + 1) % len(nodes)
		if !r.check(r.next, nodes[r.next]) {
			r.list(nodes)
		}
	}
	today := now.UnixNano()
	for number, until := range r.until {
		if until != 0 && today >= until {
			r.version[number]++
			r.until[number] = 0
		}
	}
}

// check notes a new generation of the node at a place of the list. It reports false if another node is there than was listed.
func (r *roster) check(at int, info fwk.NodeInfo) bool {
	number := r.order[at]
	generation := info.GetGeneration()
	if r.generation[number] == generation {
		return true // a generation belongs to one node, so this is that node
	}
	if r.name[number] != info.Node().Name {
		r.moved = true
		return false
	}
	r.generation[number] = generation
	r.version[number]++
	return true
}

// state is what ask says of a node. It is asked once for each version.
func (r *roster) state(number int32, ask func() State) State {
	known := &r.states[number]
	if known.version != r.version[number] {
		*known = knownState{r.version[number], ask()}
	}
	return known.state
}

// await takes when an answer of a node ends; zero if it does not.
func (r *roster) await(number int32, until time.Time) {
	if until.IsZero() {
		return
	}
	if r.until[number] == 0 || until.UnixNano() < r.until[number] {
		r.until[number] = until.UnixNano()
	}
}

// list numbers the nodes anew. Those that were listed keep their numbers.
func (r *roster) list(nodes []fwk.NodeInfo) {
	if r.numbers == nil {
		r.numbers = map[string]int32{}
	}
	listed := make(map[string]struct{}, len(nodes))
	for _, info := range nodes {
		listed[info.Node().Name] = struct{}{}
	}
	for name, number := range r.numbers {
		_, still := listed[name]
		if !still {
			delete(r.numbers, name)
			r.free = append(r.free, number)
		}
	}
	r.moved = false
	r.order = make([]int32, 0, len(nodes))
	for _, info := range nodes {
		r.order = append(r.order, r.number(info.Node().Name))
	}
}

// number is the number of a name. A name that has none gets one with a version that no kind has seen.
func (r *roster) number(name string) int32 {
	number, known := r.numbers[name]
	if known {
		return number
	}
	if len(r.free) > 0 {
		number = r.free[len(r.free)-1]
		r.free = r.free[:len(r.free)-1]
	} else {
		number = int32(r.size())
		r.name = append(r.name, "")
		r.generation = append(r.generation, 0)
		r.version = append(r.version, 0)
		r.until = append(r.until, 0)
		r.states = append(r.states, knownState{})
	}
	r.numbers[name] = number
	r.name[number] = name
	r.generation[number] = 0
	r.until[number] = 0
	r.version[number]++
	return number
}

// changes are the nodes that have changed since they were taken. The lock is held for no longer than that.
type changes struct {
	mu    sync.Mutex
	names map[string]struct{}
}

func (c *changes) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names == nil {
		c.names = map[string]struct{}{}
	}
	c.names[name] = struct{}{}
}

func (c *changes) take() map[string]struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := c.names
	c.names = nil
	return names
}
