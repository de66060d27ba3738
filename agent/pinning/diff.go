package pinning

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/placement"
)

// step moves one thread.
type step struct {
	thread Thread
	// was is where libvirt was told to keep the thread, empty for nowhere; from is where it may run now,
	// which differs when something other than libvirt moved it.
	was, from cpuset.Set
	to        cpuset.Set
}

// String gives the step as events name it.
func (s step) String() string { return fmt.Sprintf("%s: %s → %s", s.thread, orAny(s.from), s.to) }

// diff gives the steps from where the guest's threads are to desired. A thread is where it should be when
// libvirt is told so and the kernel agrees. What desired leaves open is left alone.
//
// The emulator and the IO threads come first: they leave a vCPU's CPU before the vCPU comes to it.
func diff(desired placement.Pins, guest *Guest) []step {
	var steps []step
	add := func(kind ThreadKind, now GuestThread, to cpuset.Set) {
		if to.IsEmpty() || (now.Pinned == to && now.Affinity == to) {
			return
		}
		steps = append(steps, step{Thread{kind, now.ID}, now.Pinned, now.Affinity, to})
	}
	// libvirt does not tell the affinity of the emulator's threads, only its own pin.
	add(Emulator, GuestThread{Pinned: guest.Emulator, Affinity: guest.Emulator}, desired.Emulator)
	for _, thread := range guest.IOThreads {
		add(IOThread, thread, desired.IOThreads[thread.ID])
	}
	for i, vcpu := range guest.VCPUs {
		if i < len(desired.VCPUs) {
			add(VCPU, vcpu, desired.VCPUs[i])
		}
	}
	return steps
}

// moves tells whether a step takes a thread away from where it had been pinned, rather than pin it for the
// first time.
func moves(steps []step) bool {
	for _, s := range steps {
		if !s.was.IsEmpty() {
			return true
		}
	}
	return false
}

// outside names the first pin that is not within the granted CPUs, or is "".
func outside(pins placement.Pins, granted cpuset.Set) string {
	for i, cpus := range pins.VCPUs {
		if !cpus.SubsetOf(granted) {
			return fmt.Sprintf("vCPU %d on CPU %s", i, cpus.Minus(granted))
		}
	}
	if !pins.Emulator.SubsetOf(granted) {
		return fmt.Sprintf("the emulator on CPU %s", pins.Emulator.Minus(granted))
	}
	for _, id := range slices.Sorted(maps.Keys(pins.IOThreads)) { // always the same one, so that it is told once
		if cpus := pins.IOThreads[id]; !cpus.SubsetOf(granted) {
			return fmt.Sprintf("IO thread %d on CPU %s", id, cpus.Minus(granted))
		}
	}
	return ""
}

// pinMap gives the pins of a guest in one line: "vCPU 0→4 1→5, emulator→6, IO thread 1→6".
func pinMap(pins placement.Pins, guest *Guest) string {
	var b strings.Builder
	b.WriteString("vCPU")
	for i, vcpu := range guest.VCPUs {
		if i < len(pins.VCPUs) {
			b.WriteString(" " + strconv.Itoa(vcpu.ID) + "→" + pins.VCPUs[i].String())
		}
	}
	if !pins.Emulator.IsEmpty() {
		b.WriteString(", emulator→" + pins.Emulator.String())
	}
	separator := ", IO thread "
	for _, thread := range guest.IOThreads {
		if cpus := pins.IOThreads[thread.ID]; !cpus.IsEmpty() {
			b.WriteString(separator + strconv.Itoa(thread.ID) + "→" + cpus.String())
			separator = " "
		}
	}
	return b.String()
}

func orAny(cpus cpuset.Set) string {
	if cpus.IsEmpty() {
		return "anywhere"
	}
	return cpus.String()
}
