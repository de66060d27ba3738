// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
)

// step moves one thread.
type step struct {
	thread Thread
	// was is where libvirt was told to keep the thread; empty for nowhere. from is where it may run now. The two
	// differ when something other than libvirt moved the thread.
	was  cpuset.Set
	from cpuset.Set
	to   cpuset.Set
}

// String gives the step as events name it.
func (s step) String() string { return fmt.Sprintf("%s: %s → %s", s.thread, orAny(s.from), s.to) }

// obstacle is why the kernel lets a thread run on none of its CPUs.
type obstacle uint8

const (
	// offline: they are not online.
	offline obstacle = iota + 1
	// outsideContainer: the cpuset of the container's cgroup does not have them.
	outsideContainer
	// housekeeping: KubeVirt has moved the thread into its child cgroup for what is not a vCPU.
	housekeeping
)

// stuckThread is a thread that cannot be where it belongs.
type stuckThread struct {
	step
	by obstacle
	// within are the CPUs that the obstacle leaves.
	within cpuset.Set
}

// String gives the thread as events name it.
func (s stuckThread) String() string {
	switch s.by {
	case offline:
		return fmt.Sprintf("%s: %s is offline, runs on %s", s.thread, s.to, orAny(s.from))
	case housekeeping:
		return fmt.Sprintf("%s is confined to CPU %s by KubeVirt's housekeeping cgroup, and belongs on CPU %s", s.thread, s.within, s.to)
	default:
		return s.step.String()
	}
}

// harmless reports whether the VM keeps what it was promised: an IO thread or the emulator in KubeVirt's own cgroup
// takes time from nobody's vCPUs.
func (s stuckThread) harmless() bool { return s.by == housekeeping && s.thread.Kind != VCPU }

// confines are where the kernel lets the threads of a guest run, whatever their affinity.
type confines struct {
	online cpuset.Set
	// container is the cpuset of the container's cgroup; empty where it is not known.
	container cpuset.Set
	// housekeeping is that of KubeVirt's child cgroup in the container's; empty where there is none. virt-handler moves
	// every thread into it whose name does not hold both "CPU " and "KVM" (pkg/virt-handler, KubeVirt 1.9).
	housekeeping cpuset.Set
	// refused are the threads that the kernel refused to move out of it.
	refused map[Thread]bool
}

// obstacle is what keeps a thread with that affinity off the CPUs; 0 where some of them are open to it. reach is where
// it may run then: affinity and cpusets work together.
func (c confines) obstacle(thread Thread, affinity, to cpuset.Set) (reach cpuset.Set, by obstacle) {
	reach = to.Intersect(c.online)
	if reach.IsEmpty() {
		return c.online, offline
	}
	if !c.container.IsEmpty() {
		reach = reach.Intersect(c.container)
		if reach.IsEmpty() {
			return c.container, outsideContainer
		}
	}
	if !c.keepsHouse(thread, affinity) {
		return reach, 0
	}
	reach = reach.Intersect(c.housekeeping)
	if reach.IsEmpty() {
		return c.housekeeping, housekeeping
	}
	return reach, 0
}

// keepsHouse reports whether a thread with that affinity is in KubeVirt's housekeeping cgroup. A vCPU with such an
// affinity may just have drifted there, so it has to be tried first.
func (c confines) keepsHouse(thread Thread, affinity cpuset.Set) bool {
	switch {
	case c.housekeeping.IsEmpty():
		return false
	case thread.Kind == Emulator: // libvirt does not tell its affinity
		return true
	case thread.Kind == VCPU && !c.refused[thread]:
		return false
	}
	return affinity.SubsetOf(c.housekeeping)
}

// compare gives the steps from where the guest's threads are to where they belong, and the threads that cannot get
// there. A thread is in place when libvirt is told so and the kernel agrees, as far as its cpusets let it. A thread
// that the pins leave open is left alone.
//
// The emulator and the IO threads come first: they leave a vCPU's CPU before the vCPU comes to it.
func compare(desired pins, guest *Guest, c confines) (steps []step, stuck []stuckThread) {
	add := func(kind ThreadKind, now GuestThread, to cpuset.Set) {
		if to.IsEmpty() || (now.Pinned == to && now.Affinity == to) {
			return
		}
		s := step{Thread{kind, now.ID}, now.Pinned, now.Affinity, to}
		reach, by := c.obstacle(s.thread, now.Affinity, to)
		switch {
		case by != 0:
			stuck = append(stuck, stuckThread{s, by, reach})
		case now.Pinned == to && now.Affinity == reach:
		default:
			steps = append(steps, s)
		}
	}
	// libvirt tells its own pin of the emulator's threads only, not their affinity.
	add(Emulator, GuestThread{Pinned: guest.Emulator, Affinity: guest.Emulator}, desired.emulator)
	for _, thread := range guest.IOThreads {
		add(IOThread, thread, desired.ioThreads[thread.ID])
	}
	for _, vcpu := range guest.VCPUs {
		add(VCPU, vcpu, desired.vcpus[vcpu.ID])
	}
	return steps, stuck
}

// moves reports whether a step takes a thread away from where it had been pinned, rather than pin it for the first
// time.
func moves(steps []step) bool {
	return slices.ContainsFunc(steps, func(s step) bool { return !s.was.IsEmpty() })
}

func list[T fmt.Stringer](all []T) string {
	texts := make([]string, 0, len(all))
	for _, s := range all {
		texts = append(texts, s.String())
	}
	return strings.Join(texts, ", ")
}
