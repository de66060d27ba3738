// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/placement"
)

// pins are CPUs for the threads of a guest. vCPUs and IO threads go by libvirt's ids: they come and go, also from the
// middle. A thread without CPUs is left alone.
type pins struct {
	vcpus     map[int]cpuset.Set
	ioThreads map[int]cpuset.Set
	emulator  cpuset.Set
}

// newPins gives a placement of the guest's threads by their ids.
func newPins(p placement.Pins, guest *Guest) pins {
	byID := pins{vcpus: map[int]cpuset.Set{}, ioThreads: p.IOThreads, emulator: p.Emulator}
	for i, vcpu := range guest.VCPUs {
		if i < len(p.VCPUs) {
			byID.vcpus[vcpu.ID] = p.VCPUs[i]
		}
	}
	return byID
}

// pinsOf is where libvirt is told to keep the guest's threads. A thread that it is told nothing about is left out.
func pinsOf(guest *Guest) pins {
	p := pins{vcpus: map[int]cpuset.Set{}, ioThreads: map[int]cpuset.Set{}, emulator: guest.Emulator}
	for _, vcpu := range guest.VCPUs {
		if !vcpu.Pinned.IsEmpty() {
			p.vcpus[vcpu.ID] = vcpu.Pinned
		}
	}
	for _, thread := range guest.IOThreads {
		if !thread.Pinned.IsEmpty() {
			p.ioThreads[thread.ID] = thread.Pinned
		}
	}
	return p
}

// placement gives the pins in the order of the guest's vCPUs. A vCPU without CPUs has an empty set.
func (p pins) placement(guest *Guest) placement.Pins {
	ordered := placement.Pins{Emulator: p.emulator, IOThreads: p.ioThreads}
	for _, vcpu := range guest.VCPUs {
		ordered.VCPUs = append(ordered.VCPUs, p.vcpus[vcpu.ID])
	}
	return ordered
}

// exclusive reports whether the pins give each vCPU of the guest one CPU of those, and to itself.
func (p pins) exclusive(guest *Guest, cpus cpuset.Set) bool {
	var taken cpuset.Set
	for _, vcpu := range guest.VCPUs {
		cpu := p.vcpus[vcpu.ID]
		if cpu.Len() != 1 || !cpu.SubsetOf(cpus) || cpu.Overlaps(taken) {
			return false
		}
		taken = taken.Union(cpu)
	}
	return true
}

// outside names the first pin that is not within the CPUs; "" where all are.
func (p pins) outside(cpus cpuset.Set) string {
	for _, id := range slices.Sorted(maps.Keys(p.vcpus)) {
		away := p.vcpus[id].Minus(cpus)
		if !away.IsEmpty() {
			return fmt.Sprintf("vCPU %d on CPU %s", id, away)
		}
	}
	emulator := p.emulator.Minus(cpus)
	if !emulator.IsEmpty() {
		return fmt.Sprintf("the emulator on CPU %s", emulator)
	}
	for _, id := range slices.Sorted(maps.Keys(p.ioThreads)) {
		away := p.ioThreads[id].Minus(cpus)
		if !away.IsEmpty() {
			return fmt.Sprintf("IO thread %d on CPU %s", id, away)
		}
	}
	return ""
}

// String gives the pins in one line: "vCPU 0→4 1→5, emulator→6, IO thread 1→6".
func (p pins) String() string {
	var b strings.Builder
	b.WriteString("vCPU")
	for _, id := range slices.Sorted(maps.Keys(p.vcpus)) {
		b.WriteString(" " + strconv.Itoa(id) + "→" + p.vcpus[id].String())
	}
	if !p.emulator.IsEmpty() {
		b.WriteString(", emulator→" + p.emulator.String())
	}
	separator := ", IO thread "
	for _, id := range slices.Sorted(maps.Keys(p.ioThreads)) {
		cpus := p.ioThreads[id]
		if !cpus.IsEmpty() {
			b.WriteString(separator + strconv.Itoa(id) + "→" + cpus.String())
			separator = " "
		}
	}
	return b.String()
}

// whereabouts is where the guest's pinned threads may run, in the form of the report: what the kernel says, which is not
// always what libvirt was told. libvirt does not know the affinity of the emulator's threads.
func whereabouts(guest *Guest) string {
	p := placement.Pins{Emulator: guest.Emulator, IOThreads: map[int]cpuset.Set{}}
	var ids []int
	for _, vcpu := range guest.VCPUs {
		if !vcpu.Pinned.IsEmpty() {
			ids = append(ids, vcpu.ID)
			p.VCPUs = append(p.VCPUs, vcpu.Affinity)
		}
	}
	for _, thread := range guest.IOThreads {
		if !thread.Pinned.IsEmpty() {
			p.IOThreads[thread.ID] = thread.Affinity
		}
	}
	return p.Text(ids)
}

// untouched reports whether nobody has pinned any of the guest's vCPUs.
func (g *Guest) untouched() bool {
	return !slices.ContainsFunc(g.VCPUs, func(vcpu GuestThread) bool { return !vcpu.Pinned.IsEmpty() })
}

func orNone(cpus cpuset.Set) string {
	if cpus.IsEmpty() {
		return "(none)"
	}
	return cpus.String()
}

func orAny(cpus cpuset.Set) string {
	if cpus.IsEmpty() {
		return "anywhere"
	}
	return cpus.String()
}
