// SPDX-License-Identifier: Apache-2.0

package admission

import "slices"

// seen are outcomes that were gone on from and that several orders may lead to. Those after which the same is done are
// linked, so that one list has them all: it is used again by the next decision.
type seen struct {
	outcomes []linked
	last     map[uint64]int // by what is done, the last one in outcomes, counted from 1
}

// linked is an outcome, and which is the one before it after which the same is done, counted from 1; 0 where there is none.
type linked struct {
	outcome
	before int
}

// end forgets all outcomes and keeps the room for them.
func (s *seen) end() {
	clear(s.outcomes)
	clear(s.last)
	s.outcomes = s.outcomes[:0]
}

// before reports whether an outcome was there before, and remembers it.
func (s *seen) before(so *outcome) bool {
	last := s.last[so.done]
	for at := last; at > 0; at = s.outcomes[at-1].before {
		if s.outcomes[at-1].same(so) {
			return true
		}
	}
	if s.last == nil {
		s.last = map[uint64]int{}
	}
	s.outcomes = append(s.outcomes, linked{*so, last})
	s.last[so.done] = len(s.outcomes)
	return false
}

// same reports whether two outcomes after which the same is done leave the node alike.
func (so *outcome) same(other *outcome) bool {
	return so.held == other.held && so.with.equal(&other.with) && so.without.equal(&other.without) &&
		slices.EqualFunc(so.passing, other.passing, func(a, b Leaving) bool { return a.equal(&b) })
}
