// SPDX-License-Identifier: Apache-2.0

package hostcpu

import (
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// Times is what a CPU has spent its time on since the machine booted.
type Times struct {
	// Busy is the time of processes and of the kernel for them, guests included.
	Busy time.Duration
	// IRQ and SoftIRQ are the time of interrupts, and Steal that of other guests where the machine itself is one.
	IRQ, SoftIRQ, Steal time.Duration
}

// Plus adds up.
func (t Times) Plus(u Times) Times {
	return Times{t.Busy + u.Busy, t.IRQ + u.IRQ, t.SoftIRQ + u.SoftIRQ, t.Steal + u.Steal}
}

// Minus is the time since an earlier reading.
func (t Times) Minus(u Times) Times {
	return Times{t.Busy - u.Busy, t.IRQ - u.IRQ, t.SoftIRQ - u.SoftIRQ, t.Steal - u.Steal}
}

// tick is the unit of /proc/stat: USER_HZ is 100 on every architecture that Kubernetes runs on.
const tick = 10 * time.Millisecond

// TimesIn gives a function that reads the times in a directory where procfs is mounted.
func TimesIn(dir string) func() (map[int]Times, error) {
	return func() (map[int]Times, error) { return ReadTimes(os.DirFS(dir)) }
}

// ReadTimes reads the times of each CPU that is online from procfs, whose root (/proc) is fsys. A container sees those of
// the host.
func ReadTimes(fsys fs.FS) (map[int]Times, error) {
	text, err := fs.ReadFile(fsys, "stat")
	if err != nil {
		return nil, fmt.Errorf("reading the CPUs' times: %w", err)
	}
	all := map[int]Times{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, " ")
		digits, is := strings.CutPrefix(name, "cpu")
		if !is || digits == "" {
			continue
		}
		id, err := strconv.Atoi(digits)
		if err != nil {
			return nil, fmt.Errorf("reading the CPUs' times: %w", err)
		}
		// user nice system idle iowait irq softirq steal; guests' time is in user and nice too.
		fields := strings.Fields(rest)
		const needed = 8
		if len(fields) < needed {
			return nil, fmt.Errorf("reading the CPUs' times: %s has %d fields, at least %d are needed", name, len(fields), needed)
		}
		var ticks [needed]time.Duration
		for i := range ticks {
			n, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("reading the CPUs' times: %w", err)
			}
			ticks[i] = time.Duration(n) * tick
		}
		all[id] = Times{Busy: ticks[0] + ticks[1] + ticks[2], IRQ: ticks[5], SoftIRQ: ticks[6], Steal: ticks[7]}
	}
	return all, nil
}
