// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"math"
	"slices"

	"corepin.dev/corepin/pkg/nodereport"
)

// maxRoom is more VMs than any machine takes.
const maxRoom = 2000

// Win looks for migrations that win room for further VMs like goal. Each is the one that wins the most by itself. Where none wins
// anything, two are looked for that do together, and if there are none either, that is the end. The cluster is not changed.
func (c *Cluster) Win(goal *Pod, targets Targets, limits Limits) *Plan {
	s := c.search(targets)
	s.limit = math.MaxInt // what fits now is counted in any case
	begin := slices.Clone(s.now)
	plan := &Plan{Then: Outcome{Pod: goal}, Room: s.total(goal)}
	for len(s.steps) < limits.Migrations {
		left := limits.Migrations - len(s.steps)
		s.share(&limits, left == 1)
		if !s.winOne(goal) && (left == 1 || !s.winTwo(goal)) {
			break
		}
	}
	plan.Tried = s.tried
	plan.Cut = s.cut
	plan.Found = len(s.steps) > 0
	steps := s.steps
	s.now = begin
	s.steps = nil
	s.known = s.known[:1]
	s.limit = math.MaxInt
	for i := range steps {
		s.migrate(steps[i].Pod, steps[i].from, steps[i].to)
		s.steps[i].Room = s.total(goal)
	}
	plan.Migrations = s.steps
	return plan
}

// total is how many more VMs like goal fit in the cluster. A node whose room was not counted has none.
func (s *search) total(goal *Pod) int {
	sum := 0
	for i := range s.now {
		room, _ := s.room(i, nil, goal)
		sum += room
	}
	return sum
}

// room is how many more VMs like goal fit on a node, as if some pods had left it. counted is false after the end of the search.
func (s *search) room(at int, left []*Pod, goal *Pod) (room int, counted bool) {
	return s.roomOf(s.without(at, left), goal, func() *Node { return s.leaving(at, left).copied() })
}

// roomWith is room on a node after a pod has come to it that it takes.
func (s *search) roomWith(at int, pod, goal *Pod) (room int, counted bool) {
	return s.roomOf(s.now[at].id+number("+", s.class(pod)), goal, func() *Node {
		node := s.now[at].node.copied()
		coming := *pod
		node.add(&coming)
		return node
	})
}

// roomOf is the room on a node in a state. made makes the node, to be filled.
func (s *search) roomOf(id string, goal *Pod, made func() *Node) (room int, counted bool) {
	s.looked++
	key := question{id, s.class(goal)}
	room, counted = s.rooms[key]
	if counted {
		return room, true
	}
	if s.spent() {
		return 0, false
	}
	room = made().room(goal, maxRoom, s.strategy, exactly)
	s.tried += room + 1
	s.rooms[key] = room
	return room, true
}

// gain is how many more VMs like goal fit on a node after some pods have left it.
func (s *search) gain(at int, leaving []*Pod, goal *Pod) int {
	before, counted := s.room(at, nil, goal)
	unused := s.now[at].free - before*goal.cpus()
	if !counted || unused+s.held(leaving) < goal.cpus() {
		return 0
	}
	after, counted := s.room(at, leaving, goal)
	if !counted {
		return 0
	}
	return after - before
}

// winOne makes the migration that wins the most, that of the smallest VM among equal ones. It reports whether there is one.
func (s *search) winOne(goal *Pod) bool {
	var best *Pod
	won := 0
	from := 0
	to := 0
	for at := range s.now {
		for _, pod := range s.now[at].movable {
			better := func(gain int) bool { return gain > won || gain == won && best != nil && pod.cpus() < best.cpus() }
			gain := s.gain(at, []*Pod{pod}, goal)
			if !better(gain) {
				continue
			}
			place, loss := s.cheapest(s.targets[pod], at, goal)
			if place >= 0 && better(gain-loss) {
				best = pod
				won = gain - loss
				from = at
				to = place
			}
		}
	}
	if best == nil {
		return false
	}
	s.migrate(best, from, to)
	return true
}

// cheapest is the node that takes a pod and loses the least room for VMs like goal by that, the one that is rated best among
// equal ones; -1 for none.
func (s *search) cheapest(pod *Pod, from int, goal *Pod) (at, loss int) {
	at = -1
	for _, place := range s.takers(pod) {
		if place == from {
			continue
		}
		before, counted := s.room(place, nil, goal)
		after, countedToo := s.roomWith(place, pod, goal)
		if !counted || !countedToo {
			return at, loss
		}
		if at < 0 || before-after < loss {
			at = place
			loss = before - after
		}
		if loss == 0 {
			return at, loss
		}
	}
	return at, loss
}

// winTwo makes the first two migrations that are found to win something together. It reports whether there are any.
func (s *search) winTwo(goal *Pod) bool {
	before := s.total(goal)
	for at := range s.now {
		if s.now[at].node.report.State != nodereport.Exact {
			continue
		}
		s.busy[at] = true
		won := s.each(s.now[at].movable, 2, func(leaving []*Pod) bool {
			return s.gain(at, leaving, goal) > 0 && s.clear(at, leaving, 2-len(leaving), func(spare int) bool {
				return spare == 0 && s.total(goal) > before
			})
		})
		s.busy[at] = false
		if won {
			return true
		}
	}
	return false
}
