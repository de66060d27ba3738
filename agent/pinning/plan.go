package pinning

import (
	"fmt"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/placement"
)

// plan is where a guest's threads should be, and the steps that are missing.
type plan struct {
	pins  placement.Pins
	steps []step
}

// planFor decides where the guest's threads should be: where libvirt is told to keep them if that is a valid placement,
// whoever made it; else where they last were if that is (settled), so that a thread that drifted is put back
// without moving the others; else where placement puts them.
func planFor(guest *Guest, shape placement.Guest, granted cpuset.Set, host *cputopology.Topology, settled placement.Pins) (plan, *problem) {
	now := pinsOf(guest)
	if placement.Check(now, shape, granted, host) == nil {
		return plan{now, diff(now, guest)}, nil // the kernel may have moved threads since libvirt was told
	}
	pins := settled
	if placement.Check(pins, shape, granted, host) != nil {
		var err error
		if pins, err = placement.Place(shape, granted, host); err != nil {
			return plan{}, &problem{reasonPlacement, fmt.Errorf("placing %d vCPUs on the granted CPUs %s: %w", shape.VCPUs, orNone(granted), err)}
		}
	}
	if pins.Emulator.IsEmpty() && !guest.Emulator.SubsetOf(granted) {
		pins.Emulator = granted // nothing asks to isolate it, but somebody pinned it to CPUs that are not the VM's
	}
	if where := outside(pins, granted); where != "" {
		return plan{}, &problem{reasonPlacement, fmt.Errorf("refusing a placement outside the granted CPUs %s: %s", orNone(granted), where)}
	}
	return plan{pins, diff(pins, guest)}, nil
}

// pinsOf is what libvirt is told, as a placement. IO threads that it is told nothing about stay out of it.
func pinsOf(guest *Guest) placement.Pins {
	pins := placement.Pins{Emulator: guest.Emulator}
	for _, vcpu := range guest.VCPUs {
		pins.VCPUs = append(pins.VCPUs, vcpu.Pinned)
	}
	for _, thread := range guest.IOThreads {
		if !thread.Pinned.IsEmpty() {
			if pins.IOThreads == nil {
				pins.IOThreads = map[int]cpuset.Set{}
			}
			pins.IOThreads[thread.ID] = thread.Pinned
		}
	}
	return pins
}

// heldBy are the CPUs that the guest's vCPUs keep others from: those of each that the kernel lets run on
// one CPU only.
func heldBy(guest *Guest) cpuset.Set {
	var held cpuset.Set
	for _, vcpu := range guest.VCPUs {
		if vcpu.Affinity.Len() == 1 {
			held = held.Union(vcpu.Affinity)
		}
	}
	return held
}

// renumber gives pins of the vCPUs with these numbers as pins of those that the guest has now: vCPUs come and go,
// also from the middle. One that the pins have nothing for is left open.
func renumber(pins placement.Pins, vcpus []int, guest *Guest) placement.Pins {
	now := make([]cpuset.Set, len(guest.VCPUs))
	for i, vcpu := range guest.VCPUs {
		if at := slices.Index(vcpus, vcpu.ID); at >= 0 && at < len(pins.VCPUs) {
			now[i] = pins.VCPUs[at]
		}
	}
	pins.VCPUs = now
	return pins
}

// numbers are those of the guest's vCPUs.
func (g *Guest) numbers() []int {
	numbers := make([]int, 0, len(g.VCPUs))
	for _, vcpu := range g.VCPUs {
		numbers = append(numbers, vcpu.ID)
	}
	return numbers
}

// text gives pins as the report has them.
func (g *Guest) text(pins placement.Pins) string { return pins.Text(g.numbers()) }

// untouched tells that nobody has pinned any of the guest's vCPUs.
func (g *Guest) untouched() bool {
	for _, vcpu := range g.VCPUs {
		if !vcpu.Pinned.IsEmpty() {
			return false
		}
	}
	return true
}

func orNone(cpus cpuset.Set) string {
	if cpus.IsEmpty() {
		return "(none)"
	}
	return cpus.String()
}
