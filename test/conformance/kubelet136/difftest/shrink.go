// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"slices"

	"corepin.dev/corepin/pkg/cputopology"
)

// shrink makes a scenario that ends in a mismatch as small as it can while it still does.
func (k Kubelet) shrink(s scenario) (scenario, *mismatch) {
	fails := func(s scenario) *mismatch {
		bad, _ := k.run(s, unseen)
		return bad
	}
	bad := fails(s)
	for progress := bad != nil; progress; {
		progress = false
		s.steps = s.steps[:bad.step+1]
		for _, smaller := range smallerThan(s) {
			if worse := fails(smaller); worse != nil {
				s, bad, progress = smaller, worse, true
				break
			}
		}
	}
	return s, bad
}

// simplerMachines gives the scenario on machines that take fewer words: regular ones, and the same one
// without one of its NUMA nodes.
func simplerMachines(s scenario) []scenario {
	var machines []*cputopology.Topology
	for _, shape := range []string{"1 sockets x 1 numa x 4 cores x 2 threads", "1 sockets x 1 numa x 8 cores x 2 threads",
		"2 sockets x 1 numa x 8 cores x 2 threads", "2 sockets x 2 numa x 8 cores x 2 threads"} {
		machines = append(machines, cputopology.MustParse(shape))
	}
	for _, node := range s.machine.NUMANodes() {
		kept := slices.DeleteFunc(slices.Clone(s.machine.Cores()), func(c cputopology.Core) bool { return c.NUMANode == node.ID })
		if smaller, err := cputopology.New(kept); err == nil {
			machines = append(machines, smaller)
		}
	}
	var all []scenario
	for _, machine := range machines {
		t := s
		t.machine, t.reserved = machine, s.reserved.Intersect(machine.CPUs())
		if t.reserved.IsEmpty() && !s.reserved.IsEmpty() {
			t.reserved.Add(machine.CPUs().First())
		}
		fits := (s.memory == nil || len(s.memory) == len(machine.NUMANodes())) && knowsDevices(machine, s.devices)
		if fits && t.reservedCount <= machine.CPUs().Len() && len(machine.String()) < len(s.machine.String()) {
			all = append(all, t)
		}
	}
	return all
}

// smallerThan gives the scenarios that are one thing simpler.
func smallerThan(s scenario) []scenario {
	all := simplerMachines(s)
	for i := range s.steps {
		t := s
		t.steps = slices.Delete(slices.Clone(s.steps), i, i+1)
		all = append(all, t)
	}
	for i := range s.cpuOptions {
		t := s
		t.cpuOptions = slices.Delete(slices.Clone(s.cpuOptions), i, i+1)
		all = append(all, t)
	}
	for i := range s.topologyOptions {
		t := s
		t.topologyOptions = slices.Delete(slices.Clone(s.topologyOptions), i, i+1)
		all = append(all, t)
	}
	if first := s.machine.CPUs().First(); s.reserved.Len() > 1 {
		t := s
		t.reserved.Remove(t.reserved.First())
		all = append(all, t)
	} else if s.reservedCount > 0 {
		t := s
		t.reservedCount = 0
		t.reserved.Add(first)
		all = append(all, t)
	}
	all = append(all, simplerResources(s)...)
	for i, step := range s.steps {
		for c := range step.wants {
			if len(step.wants) > 1 {
				t := s
				t.steps = slices.Clone(s.steps)
				t.steps[i].wants = slices.Delete(slices.Clone(step.wants), c, c+1)
				all = append(all, t)
			}
			for _, cpus := range []int{step.wants[c].CPUs / 2, step.wants[c].CPUs - 1} {
				if cpus > 0 {
					t := s
					t.steps = slices.Clone(s.steps)
					t.steps[i].wants = slices.Clone(step.wants)
					t.steps[i].wants[c].CPUs = cpus
					all = append(all, t)
				}
			}
		}
	}
	return all
}
