// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// FitAfter tries what is left of an earlier plan on the cluster as it is now, and whether a VM fits after that. broken says which
// migration is impossible now, and why; it is "" where all are possible. The cluster is not changed.
func (c *Cluster) FitAfter(pod *Pod, rest []Migration, targets Targets) (plan *Plan, broken string) {
	s := c.search(targets)
	s.limit = math.MaxInt // nothing is searched
	broken = s.replay(rest, nil)
	if broken != "" {
		return &Plan{Then: Outcome{Pod: pod}}, broken
	}
	return s.fitting(pod, s.already(pod)), ""
}

// WinAfter tries what is left of an earlier plan as FitAfter does, and counts the room for further VMs like goal.
func (c *Cluster) WinAfter(goal *Pod, rest []Migration, targets Targets) (plan *Plan, broken string) {
	s := c.search(targets)
	s.limit = math.MaxInt
	plan = &Plan{Then: Outcome{Pod: goal}, Room: s.total(goal)}
	broken = s.replay(rest, goal)
	plan.Found = broken == ""
	plan.Migrations = s.steps
	return plan, broken
}

// replay makes migrations that were planned earlier, until one is impossible, and gives why. With a goal the room is counted
// after each.
func (s *search) replay(rest []Migration, goal *Pod) (broken string) {
	for i := range rest {
		m := &rest[i]
		from := s.at(m.From)
		to := s.at(m.To)
		if from < 0 || to < 0 {
			return fmt.Sprintf("node %s or node %s is gone", m.From, m.To)
		}
		there := s.now[from].node.pods
		place := slices.IndexFunc(there, func(pod *Pod) bool { return pod.UID == m.Pod.UID })
		if place < 0 {
			return fmt.Sprintf("%s is not on %s any more", m.Pod.Name, m.From)
		}
		target := s.targets[there[place]]
		if target == nil {
			return m.Pod.Name + " may not move any more"
		}
		answer := s.now[to].node.ask(target, s.strategy)
		if !exactly(&answer) {
			return fmt.Sprintf("%s does not take %s: %s", m.To, m.Pod.Name, cmp.Or(answer.why, "the node is not predicted exactly"))
		}
		s.migrate(there[place], from, to)
		if goal != nil {
			s.steps[i].Room = s.total(goal)
		}
	}
	return ""
}

// at is the place of a node in the order of the cluster's nodes; -1 for one that is not there.
func (s *search) at(name string) int {
	return slices.IndexFunc(s.now, func(f state) bool { return f.node.Name == name })
}
