// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"slices"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// Migration is a VM that moves to another node while it runs.
type Migration struct {
	// Pod is the VM's pod on the node that it leaves.
	Pod      *Pod
	From, To string
	// Frees are the CPUs that are free on From after the VM has left. Gets are those that it is granted on To before that.
	Frees, Gets []admission.Grant
	// Room is how many more VMs of the goal fit in the cluster after it. It is 0 where one VM is to fit.
	Room int

	from, to int // in the order of the cluster's nodes
}

// Plan is what was found: migrations, to be made one after the other.
type Plan struct {
	Found      bool
	Migrations []Migration
	// Then is what becomes of the VM that is to fit. Where there is no plan, it has why no node takes the VM as they are now.
	Then Outcome
	// Room is how many more VMs of the goal fit before the first migration.
	Room int
	// Tried is how many placements of a VM on a node were tried.
	Tried int
	// Cut reports that the limit of these was reached, so that a better plan may exist.
	Cut bool
}

// Targets are the pods that may move, each with the pod that comes to another node in its place.
type Targets map[*Pod]*Pod

// Limits bound a search.
type Limits struct {
	// Migrations is how many a plan may have.
	Migrations int
	// Placements is how many placements of a VM on a node are tried at most.
	Placements int
}

// Fit looks for the fewest migrations after which a VM fits. The cluster is not changed.
func (c *Cluster) Fit(pod *Pod, targets Targets, limits Limits) *Plan {
	s := c.search(targets)
	s.limit = max(limits.Placements, len(c.Nodes))
	at := s.already(pod)
	for migrations := 1; at < 0 && migrations <= limits.Migrations; migrations++ {
		s.share(&limits, migrations == limits.Migrations)
		s.settle(pod, -1, migrations, func(place, _ int) bool {
			at = place
			return true
		})
	}
	plan := s.fitting(pod, at)
	plan.Cut = s.cut && (at < 0 || len(s.steps) > 1) // none is shorter than one migration
	return plan
}

// fitting is the plan of the migrations that were made, after which a node takes a pod; at is -1 where none does.
func (s *search) fitting(pod *Pod, at int) *Plan {
	plan := &Plan{Then: Outcome{Pod: pod}, Tried: s.tried}
	if at < 0 {
		answers := make([]asked, len(s.now))
		for i := range s.now {
			answers[i] = s.now[i].node.ask(pod, s.strategy)
		}
		plan.Then.Causes = causes(answers)
		return plan
	}
	plan.Found = true
	plan.Migrations = s.steps
	coming := *pod
	node := s.now[at].node.copied()
	answer := node.ask(pod, s.strategy)
	plan.Then = Outcome{Pod: pod, Node: node.Name, Grants: node.add(&coming), Estimated: answer.estimated}
	return plan
}

// already is the node that takes a pod without any migration, one that is predicted exactly before others; -1 for none.
func (s *search) already(pod *Pod) int {
	takers := s.takers(pod)
	if len(takers) > 0 {
		return takers[0]
	}
	return slices.IndexFunc(s.all(pod), func(a asked) bool { return a.estimated })
}
