// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"flag"
	"fmt"
)

// plan says which scenarios are made up.
type plan struct {
	steps    int    // admissions to see
	seed     uint64 // of the first scenario; each next one has the next
	podLevel int    // of 100 steps, how many are made with the gate PodLevelResourceManagers on; they come last
}

// firstPodLevel is the first minor with the gate PodLevelResourceManagers.
const firstPodLevel = 36

// podLevelShare is the podLevel of a plan that is not asked for another; the coverage table counts on it.
const podLevelShare = 10

// asked is the plan of the command line.
var asked = askedFor()

func askedFor() *plan {
	p := &plan{}
	p.flags(flag.CommandLine)
	return p
}

func (p *plan) flags(set *flag.FlagSet) {
	set.IntVar(&p.steps, "steps", 3000, "admissions to compare")
	set.Uint64Var(&p.seed, "seed", 1, "seed of the first scenario; 0 takes one from the clock")
	set.IntVar(&p.podLevel, "podlevel", podLevelShare, "of 100 steps, how many are made with the gate PodLevelResourceManagers on; they come last")
}

// planOf is the plan of the scenario of a seed alone.
func planOf(seed uint64, podLevel bool) plan {
	p := plan{steps: 1, seed: seed}
	if podLevel {
		p.podLevel = 100
	}
	return p
}

// command is what to type, in the repository, to follow a plan.
func (k Kubelet) command(p plan) string {
	command := "go"
	tags := ""
	switch k.Minor {
	case 34:
		tags = " -tags=kubelet134"
	case 38:
		command = "GOTOOLCHAIN=auto go" // the one that its go.mod names
	}
	return fmt.Sprintf("%s -C %s test -vet=off%s -count=1 -run TestRandomScenarios . -steps %d -seed %d -podlevel %d", command, k.Folder, tags, p.steps, p.seed, p.podLevel)
}
