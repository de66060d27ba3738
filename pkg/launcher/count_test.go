// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"testing"

	"corepin.dev/corepin/pkg/placement"
)

func TestComposition(t *testing.T) {
	for _, tc := range []struct {
		name        string
		cpus        int
		guest       *placement.Guest
		composition string
		odd         string
	}{
		{"unknown guest", 4, nil, "", ""},
		{"unknown guest, odd", 5, nil, "", "an odd number of CPUs never fits whole cores of 2; ask for one more or one fewer"},
		{"vCPUs only", 4, &placement.Guest{VCPUs: 4}, "", ""},
		{"vCPUs only, odd", 3, &placement.Guest{VCPUs: 3}, "", "ask for 4 or 2 vCPUs"},
		{"isolated emulator", 5, &placement.Guest{VCPUs: 4, IsolateEmulator: true}, "5 CPUs are 4 vCPUs and 1 for the emulator",
			"5 CPUs are 4 vCPUs and 1 for the emulator; ask for 5 or 3 vCPUs, or add the annotation " +
				"alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity to the VM's template, which gives the emulator a second CPU"},
		{"even parity", 6, &placement.Guest{VCPUs: 4, IsolateEmulator: true, EmulatorCPUs: 2}, "6 CPUs are 4 vCPUs and 2 for the emulator", ""},
		{"pool", 3, &placement.Guest{VCPUs: 1, DedicatedIOThreads: true, IOThreads: []int{1, 2}}, "3 CPUs are 1 vCPU and 2 for IO threads",
			"3 CPUs are 1 vCPU and 2 for IO threads; ask for 2 vCPUs"},
		{"pool and emulator", 7, &placement.Guest{VCPUs: 4, IsolateEmulator: true, DedicatedIOThreads: true, IOThreads: []int{1, 2}},
			"7 CPUs are 4 vCPUs, 1 for the emulator and 2 for IO threads",
			"7 CPUs are 4 vCPUs, 1 for the emulator and 2 for IO threads; ask for 5 or 3 vCPUs, or add the annotation " +
				"alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity to the VM's template, which gives the emulator a second CPU"},
		{"more than is used", 8, &placement.Guest{VCPUs: 4}, "8 CPUs are 4 vCPUs and 4 that no thread uses", ""},
	} {
		if got := Composition(tc.cpus, tc.guest); got != tc.composition {
			t.Errorf("%s: %q; want %q", tc.name, got, tc.composition)
		}
		if got := OddCPUs(tc.cpus, tc.guest); got != tc.odd {
			t.Errorf("%s: %q; want %q", tc.name, got, tc.odd)
		}
	}
}
