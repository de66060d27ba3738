// SPDX-License-Identifier: Apache-2.0

// Package virtlauncher stands in for KubeVirt's virt-launcher in test clusters, with what it writes into the domain of a
// dedicated VM before it starts it: where vCPUs, IO threads and emulator are pinned (element cputune).
//
// The vCPUs' order is that of pkg/placement, which test/conformance/kubevirt holds against recordings of the launcher. The
// same test holds this package to them, also where corepin places otherwise.
package virtlauncher

import (
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

// Pins are those of a VMI's guest whose compute container has these CPUs; empty where the VMI has no dedicated ones
// (AdjustDomainForTopologyAndCPUSet in pkg/virt-launcher/virtwrap/converter/vcpu/vcpu.go, commit d923fdb815cd). As the
// launcher does, it takes whatever the container's cpuset has, exclusive or not. Without an isolated emulator there is no
// emulatorpin. An error says that the guest does not fit, and the launcher starts none; where CPUs are missing the real one
// may leave a vCPU without a pin instead.
func Pins(v *vmi.VMI, container cpuset.Set, host *cputopology.Topology) (placement.Pins, error) {
	if !v.Dedicated() {
		return placement.Pins{}, nil
	}
	guest, err := placement.GuestOf(v)
	if err != nil {
		return placement.Pins{}, err
	}
	pins, err := placement.Place(guest, container, host)
	if err != nil {
		return placement.Pins{}, err
	}
	if guest.IsolateEmulator && !guest.DedicatedIOThreads {
		for _, thread := range guest.IOThreads[min(1, len(guest.IOThreads)):] {
			delete(pins.IOThreads, thread) // FormatDomainIOThreadPin in the same file: the first one only
		}
	}
	return pins, nil
}
