// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"fmt"
	"strings"

	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

// Composition says what the exclusive CPUs of a compute container are for, for example "5 CPUs are 4 vCPUs and 1 for the emulator".
// It is empty where that says nothing new: the guest is unknown, or all CPUs are vCPUs.
//
// Users ask for vCPUs and read CPUs in every refusal, so the sum has to be explained where the two numbers differ.
func Composition(cpus int, g *placement.Guest) string {
	if g == nil || cpus == g.VCPUs {
		return ""
	}
	parts := []string{count(g.VCPUs, "vCPU")}
	threads := pooled(g)
	emulator := g.CPUs() - g.VCPUs - threads
	if emulator > 0 {
		parts = append(parts, fmt.Sprintf("%d for the emulator", emulator))
	}
	if threads > 0 {
		parts = append(parts, fmt.Sprintf("%d for IO threads", threads))
	}
	unused := cpus - g.CPUs()
	if unused > 0 {
		parts = append(parts, fmt.Sprintf("%d that no thread uses", unused))
	}
	last := len(parts) - 1
	if last == 0 {
		return fmt.Sprintf("%s are %s", count(cpus, "CPU"), parts[0])
	}
	return fmt.Sprintf("%s are %s and %s", count(cpus, "CPU"), strings.Join(parts[:last], ", "), parts[last])
}

// OddCPUs explains an odd number of exclusive CPUs to a user whose nodes grant whole cores of two (kubelet option full-pcpus-only):
// what the CPUs are for, and how to make the number even. It is empty for an even number.
func OddCPUs(cpus int, g *placement.Guest) string {
	if cpus%2 == 0 {
		return ""
	}
	if g == nil {
		return "an odd number of CPUs never fits whole cores of 2; ask for one more or one fewer"
	}
	remedy := fmt.Sprintf("ask for %d or %s", g.VCPUs+1, count(g.VCPUs-1, "vCPU"))
	if g.VCPUs == 1 {
		remedy = "ask for 2 vCPUs"
	}
	if g.IsolateEmulator && g.EmulatorCPUs < 2 {
		remedy += ", or add the annotation " + vmi.EvenParityAnnotation + " to the VM's template, which gives the emulator a second CPU"
	}
	composition := Composition(cpus, g)
	if composition != "" {
		return composition + "; " + remedy
	}
	return remedy
}

// pooled is the number of IO threads with a CPU of their own.
func pooled(g *placement.Guest) int {
	if !g.DedicatedIOThreads {
		return 0
	}
	return len(g.IOThreads)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
