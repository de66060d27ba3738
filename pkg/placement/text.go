// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
)

// MaxText is the longest text that Text returns, in bytes: enough for the largest guest on 512 CPUs.
const MaxText = 4096

// cut is where Text left threads out.
const cut = "..."

const (
	emulatorName   = "emulator"
	ioThreadPrefix = "io"
)

// Text is pins in one line, "0=2 1=3 emulator=4 io1=4": vCPU 0 on CPU 2 and so on. vcpus are the numbers of
// the guest's vCPUs. Threads without a pin are left out, and what exceeds MaxText is cut off at a thread.
func (p Pins) Text(vcpus []int) string {
	var entries []string
	for i, cpus := range p.VCPUs {
		if i < len(vcpus) && !cpus.IsEmpty() {
			entries = append(entries, strconv.Itoa(vcpus[i])+"="+cpus.String())
		}
	}
	if !p.Emulator.IsEmpty() {
		entries = append(entries, emulatorName+"="+p.Emulator.String())
	}
	for _, thread := range slices.Sorted(maps.Keys(p.IOThreads)) {
		entries = append(entries, ioThreadPrefix+strconv.Itoa(thread)+"="+p.IOThreads[thread].String())
	}
	length := 0
	for i, entry := range entries {
		length += len(entry) + 1
		if length+len(cut) > MaxText {
			return strings.Join(append(entries[:i], cut), " ")
		}
	}
	return strings.Join(entries, " ")
}

// ParseText reads what Text returns; what was cut off is missing.
func ParseText(text string) (vcpus []int, p Pins, err error) {
	if len(text) > MaxText {
		return nil, Pins{}, fmt.Errorf("reading pins: %d bytes are more than %d", len(text), MaxText)
	}
	for _, entry := range strings.Fields(text) {
		if entry == cut {
			break
		}
		name, list, _ := strings.Cut(entry, "=")
		cpus, err := cpuset.Parse(list)
		if err == nil && cpus.IsEmpty() {
			err = errors.New("no CPUs")
		}
		if err != nil {
			return nil, Pins{}, fmt.Errorf("reading pins: %q: %w", entry, err)
		}
		digits, isIOThread := strings.CutPrefix(name, ioThreadPrefix)
		id, err := strconv.ParseUint(digits, 10, 31)
		switch {
		case name == emulatorName:
			p.Emulator = cpus
		case err != nil:
			return nil, Pins{}, fmt.Errorf("reading pins: %q: want a vCPU's number, %s, or %s and an IO thread's id", entry, emulatorName, ioThreadPrefix)
		case isIOThread:
			p.pinIOThread(int(id), cpus)
		default:
			vcpus = append(vcpus, int(id))
			p.VCPUs = append(p.VCPUs, cpus)
		}
	}
	return vcpus, p, nil
}
