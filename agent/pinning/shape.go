// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

// wish is what a VM asks for its emulator and its IO threads.
type wish struct {
	isolateEmulator    bool
	emulatorCPUs       int
	dedicatedIOThreads bool
}

// shapeOf is what placement needs to know of the guest: its threads as libvirt tells them, and what its VMI asks for its
// emulator and its IO threads. Without a VMI, that is what was taken for it before; else it is read off the pins that the
// guest has, or guessed from the grant where nobody has pinned the guest.
func shapeOf(guest *Guest, granted cpuset.Set, v *vmi.VMI, before *wish) placement.Guest {
	shape := placement.Guest{VCPUs: len(guest.VCPUs), ThreadsPerCore: guest.ThreadsPerCore}
	for _, thread := range guest.IOThreads {
		shape.IOThreads = append(shape.IOThreads, thread.ID)
	}
	if guest.Near != nil {
		for _, vcpu := range guest.VCPUs {
			shape.Near = append(shape.Near, guest.Near[vcpu.ID])
		}
	}
	if v != nil {
		if asked, err := placement.GuestOf(v); err == nil {
			if asked.NUMA != nil {
				shape.NUMA = &placement.NUMA{} // its memory is where it is
			}
			return wish{asked.IsolateEmulator, asked.EmulatorCPUs, asked.DedicatedIOThreads}.of(shape)
		}
	}
	if before != nil {
		wished := before.of(shape)
		if wished.CPUs() <= granted.Len() {
			return wished
		}
	}
	if guest.untouched() {
		return guess(shape, granted).of(shape)
	}
	return readOff(guest, granted).of(shape)
}

// of gives the shape with what is wished.
func (w wish) of(shape placement.Guest) placement.Guest {
	shape.IsolateEmulator = w.isolateEmulator
	shape.EmulatorCPUs = w.emulatorCPUs
	shape.DedicatedIOThreads = w.dedicatedIOThreads
	return shape
}

// wishOf is what a shape has of its VM's wishes.
func wishOf(shape placement.Guest) *wish {
	return &wish{shape.IsolateEmulator, shape.EmulatorCPUs, shape.DedicatedIOThreads}
}

// readOff takes what the VMI asked for from the pins that somebody made by it. An emulator with CPUs that no vCPU has is
// isolated. IO threads that have a CPU each, which no other thread has, are dedicated.
func readOff(guest *Guest, granted cpuset.Set) (w wish) {
	var taken cpuset.Set
	for _, vcpu := range guest.VCPUs {
		taken = taken.Union(vcpu.Pinned)
	}
	if !guest.Emulator.IsEmpty() && guest.Emulator.SubsetOf(granted) && !guest.Emulator.Overlaps(taken) {
		w.isolateEmulator = true
		w.emulatorCPUs = guest.Emulator.Len()
		taken = taken.Union(guest.Emulator)
	}
	w.dedicatedIOThreads = len(guest.IOThreads) > 0
	for _, thread := range guest.IOThreads {
		if thread.Pinned.Len() != 1 || thread.Pinned.Overlaps(taken) {
			w.dedicatedIOThreads = false
		}
		taken = taken.Union(thread.Pinned)
	}
	return w
}

// guess takes what the VMI asked for from the grant: the CPUs beyond the vCPUs show it. KubeVirt asks for exactly one CPU
// for each vCPU, one for each IO thread of ioThreadsPolicy supplementalPool, and one or two for an isolated emulator
// (WithCPUPinning in pkg/virt-controller/services/renderresources.go). One spare CPU beside one IO
// thread could be either's. It becomes the emulator's, which the IO thread then shares: both are off the vCPUs' CPUs.
func guess(shape placement.Guest, granted cpuset.Set) (w wish) {
	spare := granted.Len() - shape.VCPUs
	pool := len(shape.IOThreads)
	if pool > 1 && spare >= pool {
		w.dedicatedIOThreads = true
		spare -= pool
	}
	if spare > 0 {
		w.isolateEmulator = true
		w.emulatorCPUs = spare
	}
	return w
}
