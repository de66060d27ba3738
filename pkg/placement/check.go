package placement

import (
	"fmt"
	"maps"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// Check tells why p is not a valid placement of g; nil means that it is one, whoever made it.
//
// Valid means: every vCPU has CPUs of its own; so have an isolated emulator and dedicated IO threads;
// and nothing may run outside the granted CPUs. Whether the vCPUs of a guest core sit on one host core
// is a matter of quality and not judged. The error names the first thread that is wrong.
func Check(p Pins, g Guest, granted cpuset.Set, host *cputopology.Topology) error {
	if err := validate(g, granted, host); err != nil {
		return fmt.Errorf("checking the placement of %d vCPUs: %w", g.VCPUs, err)
	}
	if len(p.VCPUs) != g.VCPUs {
		return fmt.Errorf("%d vCPUs are placed and the guest has %d", len(p.VCPUs), g.VCPUs)
	}
	o := owners{granted: granted}
	for i, cpus := range p.VCPUs {
		if err := o.claim(fmt.Sprintf("vCPU %d", i), cpus); err != nil {
			return err
		}
	}
	if g.IsolateEmulator {
		if err := o.claim("the emulator", p.Emulator); err != nil {
			return err
		}
	} else if err := o.inside("the emulator", p.Emulator); err != nil {
		return err
	}
	return checkIOThreads(p, g, &o)
}

func checkIOThreads(p Pins, g Guest, o *owners) error {
	for _, thread := range slices.Sorted(maps.Keys(p.IOThreads)) {
		if !slices.Contains(g.IOThreads, thread) {
			return fmt.Errorf("IO thread %d is placed and the guest has none of that id", thread)
		}
		if err := o.inside(fmt.Sprintf("IO thread %d", thread), p.IOThreads[thread]); err != nil {
			return err
		}
	}
	if !g.DedicatedIOThreads {
		return nil
	}
	for _, thread := range g.IOThreads {
		if err := o.claim(fmt.Sprintf("IO thread %d", thread), p.IOThreads[thread]); err != nil {
			return err
		}
	}
	return nil
}

// owners remembers which thread has which CPUs to itself.
type owners struct {
	granted cpuset.Set
	claims  []claim
}

type claim struct {
	who  string
	cpus cpuset.Set
}

// claim gives CPUs to a thread alone.
func (o *owners) claim(who string, cpus cpuset.Set) error {
	if cpus.IsEmpty() {
		return fmt.Errorf("%s has no CPU of its own", who)
	}
	if err := o.inside(who, cpus); err != nil {
		return err
	}
	for _, other := range o.claims {
		if shared := other.cpus.Intersect(cpus); !shared.IsEmpty() {
			return fmt.Errorf("%s and %s share CPU %s", other.who, who, shared)
		}
	}
	o.claims = append(o.claims, claim{who, cpus})
	return nil
}

// inside refuses CPUs that are not granted.
func (o *owners) inside(who string, cpus cpuset.Set) error {
	if outside := cpus.Minus(o.granted); !outside.IsEmpty() {
		return fmt.Errorf("%s may run on CPU %s, which is not granted (%s)", who, outside, o.granted)
	}
	return nil
}
