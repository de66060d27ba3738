// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"corepin.dev/corepin/test/harness/story"
	"corepin.dev/corepin/test/harness/testbed"
)

// deadline is how long anything may take here; see story.limit.
const deadline = 60 * time.Second

func itoa(n int) string { return strconv.Itoa(n) }

func stepNames() []string {
	var names []string
	for _, step := range story.New(nil).Steps() {
		names = append(names, step.Name)
	}
	return names
}

func runStep(ctx context.Context, told *story.Story, name string) ([]string, error) {
	for _, step := range told.Steps() {
		if step.Name == name {
			return step.Run(ctx)
		}
	}
	return nil, fmt.Errorf("the story has no step %q", name)
}

// machines are those of the story with these names.
func machines(names ...string) []testbed.Machine {
	var chosen []testbed.Machine
	for _, machine := range story.Machines(false) {
		for _, name := range names {
			if machine.Name == name {
				chosen = append(chosen, machine)
			}
		}
	}
	return chosen
}

// unpinned are the same nodes where nobody but the agent pins a guest.
func unpinned(machines []testbed.Machine) []testbed.Machine {
	for i := range machines {
		machines[i].Hook = testbed.NobodyPins
	}
	return machines
}
