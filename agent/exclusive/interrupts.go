// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/pkg/cpuset"
)

// maxDevices is how many devices a message names; the others are counted.
const maxDevices = 8

// interruptsPause is how long the words about a VM's interrupts stay while there are some. irqbalance moves interrupts every ten
// seconds, and each change of words is an event.
const interruptsPause = time.Hour

// interruptsOn says which devices interrupt some CPUs, and what to do about it; "" where none does.
func interruptsOn(cpus cpuset.Set, interrupts []hostcpu.Interrupt) string {
	var devices []string
	for i := range interrupts {
		on := interrupts[i].CPUs.Intersect(cpus)
		if !on.IsEmpty() {
			devices = append(devices, fmt.Sprintf("%s (CPU %s)", strings.Join(interrupts[i].Devices, " and "), on))
		}
	}
	if len(devices) == 0 {
		return ""
	}
	slices.Sort(devices)
	named := strings.Join(devices[:min(len(devices), maxDevices)], ", ")
	others := len(devices) - maxDevices
	if others > 0 {
		named += fmt.Sprintf(" and %d more", others)
	}
	return named + "; keep them on the reserved CPUs with irqaffinity= or irqbalance's IRQBALANCE_BANNED_CPULIST"
}

// interruptedBy takes what a look has found.
func (r *record) interruptedBy(text string, now time.Time) {
	stays := r.interrupts != "" && text != "" && now.Sub(r.interruptsAt) < interruptsPause
	if stays {
		return
	}
	r.interrupts = text
	r.interruptsAt = now
}
