package difftest

import (
	"slices"
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

// smallerThan gives the scenarios that are one thing simpler.
func smallerThan(s scenario) []scenario {
	var all []scenario
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
