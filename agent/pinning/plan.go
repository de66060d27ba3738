// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"errors"
	"fmt"
	"slices"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/placement"
)

// plan is what one look has decided. It is made by a pure function of the mode, the state and the observation.
type plan struct {
	// belongs is where the guest's threads belong; its vcpus are nil where that cannot be said.
	belongs pins
	// wish is what that rests on.
	wish  *wish
	steps []step
	stuck []stuckThread
	cause cause
	// before is the grant that the threads were on; empty unless the kubelet changed it.
	before cpuset.Set
	// acts reports whether the steps are to be taken, and observes whether the mode is to take none.
	acts     bool
	observes bool
	// problem is what is wrong with the guest, whatever becomes of the steps.
	problem *problem
	// expecting reports whether vCPUs are still to be plugged into the guest. libvirt has no event for that.
	expecting bool
}

// planFor decides what is to be done about a guest.
func planFor(mode config.PinningMode, s guestState, o *observation) *plan {
	switch {
	case o.denied != nil:
		return &plan{problem: o.denied}
	case o.guest == nil:
		return &plan{problem: o.problem}
	}
	shape := shapeOf(o.guest, o.granted, o.vmi, s.wish)
	belongs, misfit := placeOf(s, o, shape)
	if misfit != nil {
		return &plan{problem: misfit}
	}
	p := &plan{belongs: belongs, wish: wishOf(shape), observes: mode == config.PinningObserve, problem: o.kernelProblem()}
	// CPUs that no thread has a use for are for vCPUs that are still to come.
	p.expecting = o.guest.Pluggable && shape.CPUs() < o.granted.Len()
	p.steps, p.stuck = compare(belongs, o.guest, o.confines(s))
	p.cause, p.before = s.causeOf(p, o)
	p.acts = len(p.steps) > 0 && !p.observes
	if mode == config.PinningRepair && o.guest.untouched() && len(s.settled.vcpus) == 0 {
		p.acts = false
		p.problem = &problem{reason: reasonUnpinned, err: fmt.Errorf("nobody has pinned the guest on the granted CPUs %s, and pinning.mode of the agent is repair", o.granted)}
	}
	if o.unlisted && o.guest.untouched() {
		p.acts = false // its VM may not have asked for pins
	}
	caught := p.caught()
	if len(caught) > 0 && p.problem == nil {
		p.problem = &problem{reason: reasonHousekeeping, err: errors.New(list(caught))}
	}
	return p
}

// placeOf decides where the guest's threads belong. Where libvirt is told to keep them, if that is a valid placement,
// whoever made it. Else where they were last in place, so that a thread that drifted is put back and the others do not
// move. Else where package placement puts them.
//
// While granted CPUs are offline nothing is placed anew: they may come back. What was valid on them stays so.
func placeOf(s guestState, o *observation, shape placement.Guest) (pins, *problem) {
	now := pinsOf(o.guest)
	missing := o.granted.Minus(o.host.CPUs())
	if !missing.IsEmpty() {
		switch {
		case now.exclusive(o.guest, o.granted):
			return now, nil
		case s.settledOn == o.granted && s.settled.exclusive(o.guest, o.granted):
			return s.settled, nil
		}
		return pins{}, o.missing(missing)
	}
	valid := func(p pins) bool { return placement.Check(p.placement(o.guest), shape, o.granted, o.host) == nil }
	if valid(now) {
		return now, nil
	}
	belongs := s.settled
	if !valid(belongs) {
		placed, err := placement.Place(shape, o.granted, o.host)
		if err != nil {
			return pins{}, &problem{reason: reasonPlacement, err: fmt.Errorf("placing %d vCPUs on the granted CPUs %s: %w", shape.VCPUs, orNone(o.granted), err)}
		}
		belongs = newPins(placed, o.guest)
	}
	if belongs.emulator.IsEmpty() && !o.guest.Emulator.SubsetOf(o.granted) {
		belongs.emulator = o.granted // nothing asks to isolate it, but somebody pinned it to CPUs that are not the VM's
	}
	where := belongs.outside(o.granted)
	if where != "" {
		return pins{}, &problem{reason: reasonPlacement, err: fmt.Errorf("refusing a placement outside the granted CPUs %s: %s", orNone(o.granted), where)}
	}
	return belongs, nil
}

// causeOf is why threads are off their pins. A thread that moves because the grant changed or a vCPU was plugged has not
// drifted: it was in place until the kubelet wrote the container another cpuset. Nor has a thread of a guest that came
// while it was watched: libvirt takes the pins of the other node along. And what was done last without being read back
// was done by nobody else.
func (s guestState) causeOf(p *plan, o *observation) (cause, cpuset.Set) {
	inPlace := len(p.steps) == 0 && len(p.off()) == 0
	if s.settledOn != o.granted && !s.settledOn.IsEmpty() {
		return regranted, s.settledOn
	}
	switch {
	case inPlace:
		return placed, cpuset.Set{}
	case s.pending != nil:
		return s.pending.cause, cpuset.Set{}
	case len(s.settled.vcpus) > 0:
		steps, stuck := compare(s.settled, o.guest, o.confines(s))
		if len(steps) > 0 || len(offOf(stuck)) > 0 {
			return repaired, cpuset.Set{}
		}
	case s.phase == found || s.phase == drifted:
		off := slices.ContainsFunc(p.off(), func(s stuckThread) bool { return !s.was.IsEmpty() })
		if off || moves(p.steps) {
			return repaired, cpuset.Set{}
		}
	}
	return placed, cpuset.Set{}
}

// change is what the plan's steps come to when they are taken.
func (p *plan) change() change {
	return change{pins: p.belongs, steps: p.steps, cause: p.cause, before: p.before}
}

// off are the threads that are stuck where they must not be.
func (p *plan) off() []stuckThread { return offOf(p.stuck) }

func offOf(stuck []stuckThread) []stuckThread {
	return slices.DeleteFunc(slices.Clone(stuck), stuckThread.harmless)
}

// confined are the threads that are stuck in KubeVirt's housekeeping cgroup and may stay there.
func (p *plan) confined() []stuckThread {
	return slices.DeleteFunc(slices.Clone(p.stuck), func(s stuckThread) bool { return !s.harmless() })
}

// caught are the vCPUs that are stuck in KubeVirt's housekeeping cgroup.
func (p *plan) caught() []stuckThread {
	return slices.DeleteFunc(p.off(), func(s stuckThread) bool { return s.by != housekeeping })
}

// drift is which threads are off their pins, for the report; "" where none has been moved.
func (p *plan) drift() string {
	if p.cause != repaired && !p.observes {
		return ""
	}
	if len(p.steps) == 0 {
		return list(p.off())
	}
	if len(p.off()) == 0 {
		return list(p.steps)
	}
	return list(p.steps) + ", " + list(p.off())
}

// stuckDrift is what drift is once the steps are taken.
func (p *plan) stuckDrift() string {
	if p.cause != repaired && !p.observes {
		return ""
	}
	return list(p.off())
}

// confines are where the kernel lets the guest's threads run.
func (o *observation) confines(s guestState) confines {
	c := confines{online: o.host.CPUs(), container: o.container, housekeeping: o.housekeeping, refused: map[Thread]bool{}}
	for thread, until := range s.refused {
		c.refused[thread] = o.at.Before(until)
	}
	return c
}

// claims are the CPUs that the VM keeps others from: those granted to it, and those that its vCPUs may run on by affinity
// and cpuset together. What a guest's libvirt says counts only within the cpuset of the guest's own container: a hostile
// one could accuse any other VM.
func (o *observation) claims() cpuset.Set {
	claims := o.granted
	if o.guest == nil {
		return claims
	}
	for _, vcpu := range o.guest.VCPUs {
		claims = claims.Union(vcpu.Affinity.Intersect(o.container))
	}
	return claims
}

// kernelProblem is why the kernel does not let the container have just the granted CPUs; nil where it does, or where that
// is not known.
func (o *observation) kernelProblem() *problem {
	missing := o.granted.Minus(o.host.CPUs())
	switch {
	case !missing.IsEmpty():
		return o.missing(missing)
	case o.unreadable != nil:
		return &problem{reason: reasonCPUSet, err: o.unreadable}
	case o.container.IsEmpty() || o.container == o.granted:
		return nil
	}
	p := &problem{reason: reasonCPUSet, err: fmt.Errorf("the kubelet granted CPUs %s to container %s, and its cgroup lets it use %s",
		o.granted, o.compute, o.container)}
	if o.confiner != "" {
		p.err = fmt.Errorf("%w, since %s above it has no more", p.err, o.confiner)
		p.step = "take the limit (AllowedCPUs, cpuset.cpus) off " + o.confiner + ", or reserve the other CPUs in the kubelet's configuration"
	}
	return p
}

// missing is the problem of granted CPUs that are not online, or came online since the agent looked.
func (o *observation) missing(cpus cpuset.Set) *problem {
	return &problem{reason: reasonTopology, err: fmt.Errorf("the kubelet granted CPUs %s, and CPUs %s of these are not seen online", o.granted, cpus)}
}
