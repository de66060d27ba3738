// SPDX-License-Identifier: Apache-2.0

package ranking

import "container/list"

// nodeBytes is what a kind takes for one node.
const nodeBytes = 4 + 8

const (
	// stateBytes is what a kind takes for one state, and maxStates how many of them it has at most.
	stateBytes = 80
	maxStates  = 1024
)

// kinds are the kinds that were asked for, the latest first.
type kinds struct {
	byKey map[string]*list.Element
	used  list.List // of *kind
	bytes int
}

// kind has the ratings of all nodes for one kind of pod, by the nodes' numbers.
type kind struct {
	key    string
	seen   []uint32 // the versions that were rated; 0 for none
	rating []int64
	// states are the answers of nodes by their states.
	states map[uint64]Answer
	// next is the place in the list of nodes from which to look.
	next int
}

// get returns the kind with that key, with room for so many nodes.
func (k *kinds) get(key string, nodes int) *kind {
	at, known := k.byKey[key]
	if !known {
		if k.byKey == nil {
			k.byKey = map[string]*list.Element{}
		}
		at = k.used.PushFront(&kind{key: key})
		k.byKey[key] = at
	}
	k.used.MoveToFront(at)
	found := at.Value.(*kind)
	k.bytes += found.grow(nodes)
	k.drop()
	return found
}

// drop drops the kinds that were not asked for the longest, as long as all take too much.
func (k *kinds) drop() {
	for k.bytes > maxBytes && k.used.Len() > 1 {
		last := k.used.Remove(k.used.Back()).(*kind)
		delete(k.byKey, last.key)
		k.bytes -= nodeBytes*len(last.seen) + stateBytes*len(last.states)
	}
}

// remember keeps the answer of all nodes of a state, for the kind that is asked for.
func (k *kinds) remember(of *kind, state uint64, a Answer) {
	if of.states == nil {
		of.states = map[uint64]Answer{}
	}
	if len(of.states) == maxStates {
		k.bytes -= stateBytes * len(of.states)
		clear(of.states)
	}
	of.states[state] = a
	k.bytes += stateBytes
	k.drop()
}

// grow makes room for so many nodes, and returns how many bytes that took.
func (k *kind) grow(nodes int) (bytes int) {
	more := nodes - len(k.seen)
	if more <= 0 {
		return 0
	}
	k.seen = append(k.seen, make([]uint32, more)...)
	k.rating = append(k.rating, make([]int64, more)...)
	return nodeBytes * more
}

// knows reports whether the kind has the rating of a node as it is.
func (k *kind) knows(r *roster, number int32) bool { return k.seen[number] == r.version[number] }

// keep notes the answer of a node.
func (k *kind) keep(number int32, version uint32, a Answer) {
	k.seen[number] = version
	k.rating[number] = refused
	if a.Takes {
		k.rating[number] = a.Rating
	}
}
