// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"maps"
	"slices"
	"time"

	"corepin.dev/corepin/pkg/cpuset"
)

// phase is how far the guest of one launcher pod has come. It is the whole of what later looks decide by, with the facts
// in guestState that belong to it:
//
//	unknown ─> found ──────────────┐
//	   │                           ├─> pinned <─> drifted
//	   └─> absent <─> arriving ─> unpinned         │
//	                                  └─> unread <─┘   ... from each: ended, once the guest is gone
type phase string

const (
	// unknown: libvirt has not been read yet.
	unknown phase = ""
	// absent: no guest has run in the pod yet.
	absent phase = "absent"
	// arriving: the guest is being started or migrated here, and libvirt lets nobody touch it.
	arriving phase = "arriving"
	// found: the guest ran already at the first look. Whatever is wrong with its pins has drifted.
	found phase = "found"
	// unpinned: the guest came while it was watched. Pins that it has may be those of the node that it came from.
	unpinned phase = "unpinned"
	// pinned: its threads are in place.
	pinned phase = "pinned"
	// drifted: its threads were in place, and something moved them.
	drifted phase = "drifted"
	// unread: libvirt was told pins, and nobody has read back yet what became of them.
	unread phase = "unread"
	// ended: a guest ran in the pod and does not any more. Its libvirt goes seconds before the pod does.
	ended phase = "ended"
)

// ran reports whether a guest has run in the pod.
func (p phase) ran() bool {
	switch p {
	case unknown, absent, arriving:
		return false
	}
	return true
}

// guestState is what one look leaves for the next. Losing it costs nothing but a repaired thread coming back to another
// core than before.
type guestState struct {
	phase phase
	uuid  [16]byte
	run   int32
	// seen is when this run of the guest was first seen.
	seen time.Time
	// settled is where the threads were last in place, and settledOn the grant that they were on. Both are empty before.
	settled   pins
	settledOn cpuset.Set
	// wish is what that rests on, so that a thread that drifts does not change what the VM is taken to ask for.
	wish *wish
	// offSince is when something was first seen to have moved threads; zero in other phases than drifted and unread.
	offSince time.Time
	// pending is what libvirt was told and nobody was told of yet; nil in other phases than unread.
	pending *change
	// refused has when a vCPU that the kernel refused to move may be tried again.
	refused map[Thread]time.Time
	// whereabouts is where the threads were last seen, as the report has it. A libvirt that does not answer for a while
	// takes nothing back.
	whereabouts string
	// drift is which threads are off their pins, for the report; "" where none is.
	drift string
}

// cause is why threads are pinned. A later one in this list wins where several come together.
type cause uint8

const (
	// placed: for the first time, or because the guest's size changed.
	placed cause = iota
	// repaired: something had moved them.
	repaired
	// regranted: the kubelet changed the grant under the running guest.
	regranted
)

// change is what libvirt was told to pin.
type change struct {
	pins  pins
	steps []step
	cause cause
	// before is the grant that the threads were on; empty unless the kubelet changed it.
	before cpuset.Set
	// offSince is when something was first seen to have moved the threads; first reports whether the guest's threads
	// were not in place before.
	offSince time.Time
	first    bool
}

// since adds what libvirt was told earlier and nobody was told of yet. The steps of an earlier try that were taken again
// are left out. Where the grant has changed since, it does not matter any more what had moved before.
func (c change) since(earlier *change) change {
	if earlier == nil {
		return c
	}
	again := map[Thread]bool{}
	for _, s := range c.steps {
		again[s.thread] = true
	}
	var steps []step
	for _, s := range earlier.steps {
		if !again[s.thread] {
			steps = append(steps, s)
		}
	}
	merged := change{pins: c.pins, steps: append(steps, c.steps...), cause: max(c.cause, earlier.cause), before: c.before}
	if merged.before.IsEmpty() {
		merged.before = earlier.before
	}
	return merged
}

// observed is the state with what a look has read, before anything is decided.
func (s guestState) observed(o *observation) guestState {
	switch {
	case o.guest != nil:
		if !s.phase.ran() || s.phase == ended || s.uuid != o.guest.UUID || s.run != o.guest.Run {
			s = s.newRun(o)
		}
		s.whereabouts = whereabouts(o.guest)
	case o.presence == gone:
		s = s.withoutGuest()
	case o.presence == inTransit && (!s.phase.ran() || s.phase == ended):
		s = guestState{phase: arriving}
	case o.presence == notReached && s.phase == unknown:
		s.phase = absent
	}
	return s
}

// newRun is the state of a guest that was not seen before.
func (s guestState) newRun(o *observation) guestState {
	next := guestState{phase: unpinned, uuid: o.guest.UUID, run: o.guest.Run, seen: o.at}
	if s.phase == unknown {
		next.phase = found
	}
	return next
}

// withoutGuest is the state once no guest runs. After a migration to here that was given up, it is as before.
func (s guestState) withoutGuest() guestState {
	if s.phase.ran() {
		return guestState{phase: ended}
	}
	return guestState{phase: absent}
}

// concluded is the state after the plan was carried out as far as it went, and the change that is to be told now; nil
// where there is none.
func (s guestState) concluded(o *observation, p *plan, done outcome) (guestState, *change) {
	if o.guest == nil || p.belongs.vcpus == nil {
		return s, nil
	}
	s.drift = p.drift()
	if p.cause == repaired && s.offSince.IsZero() {
		s.offSince = o.at
	}
	switch {
	case done.presence == gone:
		return s.withoutGuest(), nil
	case len(p.steps) > 0 && !p.acts:
		return s.off(p), nil
	case len(p.steps) == 0:
		return s.inPlace(o, p, s.pending)
	case done.verified:
		s.whereabouts = whereabouts(done.guest)
		made := p.change().since(s.pending)
		return s.inPlace(o, p, &made)
	case done.guest != nil: // libvirt took the pins, and the threads are elsewhere
		s.whereabouts = whereabouts(done.guest)
		s.pending = nil
		return s.off(p), nil
	}
	return s.interrupted(o, p, done), nil
}

// inPlace is the state after a look that left no step to take. Threads may be stuck elsewhere all the same.
func (s guestState) inPlace(o *observation, p *plan, made *change) (guestState, *change) {
	made = made.without(p.stuck)
	if made != nil {
		made.offSince = s.offSince
		made.first = len(s.settled.vcpus) == 0
	}
	s.pending = nil
	s.drift = p.stuckDrift()
	if s.drift != "" || len(p.off()) > 0 {
		return s.off(p), made
	}
	s.phase = pinned
	s.settled = p.belongs
	s.wish = p.wish
	s.settledOn = o.granted
	s.offSince = time.Time{}
	return s, made
}

// off is the state while threads are off their pins.
func (s guestState) off(p *plan) guestState {
	switch {
	case p.cause == repaired:
		s.phase = drifted
	case s.phase != found:
		s.phase = unpinned
	}
	return s
}

// interrupted is the state after pins that were not read back. The next look finds what became of them.
func (s guestState) interrupted(o *observation, p *plan, done outcome) guestState {
	if done.problem != nil && done.problem.reason == reasonHousekeeping && s.drift != "" {
		s.drift = done.problem.Error()
	}
	s.refused = maps.Clone(s.refused)
	for _, thread := range done.refused {
		if s.refused == nil {
			s.refused = map[Thread]time.Time{}
		}
		s.refused[thread] = o.at.Add(refusalLasts)
	}
	made := p.change()
	made.steps = p.steps[:done.taken]
	if len(made.steps) == 0 {
		if s.pending == nil {
			return s.off(p)
		}
		return s
	}
	made = made.since(s.pending)
	s.pending = &made
	s.phase = unread
	return s
}

// without leaves out the steps of threads that are stuck; nil where none is left.
func (c *change) without(stuck []stuckThread) *change {
	if c == nil {
		return nil
	}
	left := *c
	left.steps = slices.DeleteFunc(slices.Clone(c.steps), func(made step) bool {
		return slices.ContainsFunc(stuck, func(s stuckThread) bool { return s.thread == made.thread })
	})
	if len(left.steps) == 0 {
		return nil
	}
	return &left
}
