// SPDX-License-Identifier: Apache-2.0

package hostcpu

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
)

// Interrupt is a line of the machine that devices interrupt CPUs with.
type Interrupt struct {
	// Number is the kernel's.
	Number int
	// Devices are what its handlers are called, sorted: "eth0-TxRx-3", "nvme0q4". There is at least one.
	Devices []string
	// CPUs are those that it goes to now, or from its next occurrence on.
	CPUs cpuset.Set
}

// InterruptsIn gives a function that reads the interrupts in a directory where procfs is mounted.
func InterruptsIn(dir string) func() ([]Interrupt, error) {
	return func() ([]Interrupt, error) { return ReadInterrupts(os.DirFS(dir)) }
}

// ReadInterrupts reads the interrupts that have a handler from procfs, whose root (/proc) is fsys, sorted by number. Interrupts of each CPU's own, such as its timer, are
// not among them. A container sees those of the host. /proc/interrupts has the same, and is masked there.
func ReadInterrupts(fsys fs.FS) ([]Interrupt, error) {
	lines, err := fs.ReadDir(fsys, "irq")
	if err != nil {
		return nil, fmt.Errorf("reading the machine's interrupts: %w", err)
	}
	var all []Interrupt
	for _, line := range lines {
		number, err := strconv.Atoi(line.Name())
		if err != nil {
			continue // default_smp_affinity
		}
		devices := handlers(fsys, "irq/"+line.Name())
		if len(devices) == 0 {
			continue
		}
		cpus, err := target(fsys, "irq/"+line.Name())
		if err != nil {
			return nil, fmt.Errorf("reading where interrupt %d goes: %w", number, err)
		}
		all = append(all, Interrupt{Number: number, Devices: devices, CPUs: cpus})
	}
	slices.SortFunc(all, func(a, b Interrupt) int { return a.Number - b.Number })
	return all, nil
}

// handlers are the names of an interrupt's handlers: each has a directory. An interrupt that has gone meanwhile has none.
func handlers(fsys fs.FS, dir string) []string {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}

// target are the CPUs that an interrupt goes to. One that was sent elsewhere goes there after it has occurred once more, and the
// kernel says so only then (irq_move_irq in kernel/irq/migration.c): until then it is where it may go. The set is empty of an
// interrupt that has gone meanwhile.
func target(fsys fs.FS, dir string) (cpuset.Set, error) {
	may, err := affinity(fsys, dir+"/smp_affinity_list")
	if err != nil {
		return cpuset.Set{}, err
	}
	goes, err := affinity(fsys, dir+"/effective_affinity_list")
	if err != nil || goes.Overlaps(may) {
		return goes, err
	}
	return may, nil
}

// affinity reads a list of CPUs; it is empty where there is no such file.
func affinity(fsys fs.FS, file string) (cpuset.Set, error) {
	text, err := fs.ReadFile(fsys, file)
	if err != nil {
		return cpuset.Set{}, nil // an older kernel, or the interrupt is there no longer
	}
	return cpuset.Parse(strings.TrimSpace(string(text)))
}

// interrupted are the CPUs that interrupts of devices go to.
func interrupted(interrupts []Interrupt) cpuset.Set {
	var cpus cpuset.Set
	for i := range interrupts {
		cpus = cpus.Union(interrupts[i].CPUs)
	}
	return cpus
}
