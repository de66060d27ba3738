package pinning

import (
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/placement"
)

// plan is where a guest's threads should be, and the steps that are missing.
type plan struct {
	pins  placement.Pins
	steps []step
}

// planFor decides where the guest's threads should be: where they are if that is a valid placement, whoever
// made it; else where they last were if that is (settled), so that a thread that drifted is put back
// without moving the others; else where placement puts them.
func planFor(guest *Guest, granted cpuset.Set, host *cputopology.Topology, settled placement.Pins) (plan, *problem) {
	shape := shapeOf(guest, granted)
	now := pinsOf(guest)
	if placement.Check(now, shape, granted, host) == nil && placement.Check(affinitiesOf(guest), shape, granted, host) == nil {
		return plan{pins: now}, nil
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

// shapeOf is what placement needs to know of the guest. What the VMI asked for its emulator and its IO
// threads is read off the grant: KubeVirt asks exactly one CPU for each vCPU, one for each IO thread of
// ioThreadsPolicy supplementalPool, and one or two for an isolated emulator, so the CPUs beyond the vCPUs
// tell (kubevirt pkg/virt-controller/services/renderresources.go, WithCPUPinning). One spare CPU beside
// one IO thread could be either's; it becomes the emulator's, which the IO thread then shares: both are
// off the vCPUs' CPUs.
func shapeOf(guest *Guest, granted cpuset.Set) placement.Guest {
	shape := placement.Guest{VCPUs: len(guest.VCPUs), ThreadsPerCore: guest.ThreadsPerCore}
	for _, thread := range guest.IOThreads {
		shape.IOThreads = append(shape.IOThreads, thread.ID)
	}
	spare := granted.Len() - shape.VCPUs
	if pool := len(shape.IOThreads); pool > 1 && spare >= pool {
		shape.DedicatedIOThreads = true
		spare -= pool
	}
	if spare > 0 {
		shape.IsolateEmulator = true
		shape.EmulatorCPUs = spare
	}
	return shape
}

// pinsOf is what libvirt is told, as a placement.
func pinsOf(guest *Guest) placement.Pins {
	return placementOf(guest, func(t GuestThread) cpuset.Set { return t.Pinned })
}

// affinitiesOf is where the kernel lets the threads run, as a placement. IO threads that libvirt is told
// nothing about stay out of it.
func affinitiesOf(guest *Guest) placement.Pins {
	return placementOf(guest, func(t GuestThread) cpuset.Set { return t.Affinity })
}

func placementOf(guest *Guest, of func(GuestThread) cpuset.Set) placement.Pins {
	pins := placement.Pins{Emulator: guest.Emulator}
	for _, vcpu := range guest.VCPUs {
		pins.VCPUs = append(pins.VCPUs, of(vcpu))
	}
	for _, thread := range guest.IOThreads {
		if !thread.Pinned.IsEmpty() {
			if pins.IOThreads == nil {
				pins.IOThreads = map[int]cpuset.Set{}
			}
			pins.IOThreads[thread.ID] = of(thread)
		}
	}
	return pins
}

func orNone(cpus cpuset.Set) string {
	if cpus.IsEmpty() {
		return "(none)"
	}
	return cpus.String()
}
