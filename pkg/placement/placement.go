// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"errors"
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// Guest is what placement needs to know of a virtual machine.
type Guest struct {
	// VCPUs is the number of vCPUs that are online, at least 1.
	VCPUs int
	// ThreadsPerCore is the number of threads of a guest core; 0 means 1.
	ThreadsPerCore int
	// IOThreads are libvirt's ids of the guest's IO threads.
	IOThreads []int
	// DedicatedIOThreads gives each IO thread a CPU of its own (KubeVirt's ioThreadsPolicy
	// supplementalPool). Without it they share: with an isolated emulator its CPUs, else the vCPUs'.
	DedicatedIOThreads bool
	// IsolateEmulator keeps the emulator off the vCPUs' CPUs (KubeVirt's isolateEmulatorThread).
	IsolateEmulator bool
	// EmulatorCPUs is how many CPUs an isolated emulator gets; 0 means 1. KubeVirt gives 2 where that
	// makes the total even (annotation alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity).
	EmulatorCPUs int
	// Near has for each vCPU the host NUMA nodes that the memory of its guest NUMA node is bound to: it belongs on one of
	// these. Empty, or missing, where that is not so, or not known.
	Near [][]int
	// NUMA is what passing the host's NUMA nodes through asks (KubeVirt's numa.guestMappingPassthrough);
	// nil where the guest does not ask it.
	NUMA *NUMA
}

// NUMA is what a guest asks if it sees the NUMA nodes that its vCPUs run on. No guest core may span two of them,
// and each node holds a share of the guest's memory in whole huge pages.
type NUMA struct {
	// Memory is the guest's memory and PageSize that of its huge pages, in bytes. A PageSize of 0 means that
	// memory is not looked at, as for a guest that runs already.
	Memory, PageSize int64
}

// Pins says where each of a guest's threads may run.
type Pins struct {
	// VCPUs has one set for each vCPU, by vCPU number.
	VCPUs []cpuset.Set
	// Emulator is the emulator's set; empty means leave it alone.
	Emulator cpuset.Set
	// IOThreads has a set for each pinned IO thread, by libvirt's id; a missing id means leave it alone.
	IOThreads map[int]cpuset.Set
}

// Place puts guest g on the granted CPUs of a host. It fails if there are too few of them, or
// if granted holds a CPU that is not online on the host. The error has the numbers.
func Place(g Guest, granted cpuset.Set, host *cputopology.Topology) (Pins, error) {
	if err := validate(g, granted, host); err != nil {
		return Pins{}, fmt.Errorf("placing %d vCPUs: %w", g.VCPUs, err)
	}
	need := g.CPUs()
	if granted.Len() < need {
		return Pins{}, fmt.Errorf("placing %d vCPUs: the guest needs %d CPUs and %d are granted (%s); "+
			"compare the VMI's CPUs with those of the pod's compute container", g.VCPUs, need, granted.Len(), granted)
	}
	free := newPool(granted, g.threads(), host)
	pins := Pins{VCPUs: make([]cpuset.Set, 0, g.VCPUs)}
	for left := g.VCPUs; left > 0; left -= g.threads() {
		cpus := free.takeCore(min(g.threads(), left), g.NUMA == nil, g.near(g.VCPUs-left))
		if cpus == nil {
			return Pins{}, fmt.Errorf("placing %d vCPUs: of the granted CPUs %s, too few are on one NUMA node for the last %d vCPUs, "+
				"and with guestMappingPassthrough no guest core may span two; use fewer threads per core or a NUMA-aligned grant "+
				"(topology manager policy single-numa-node)", g.VCPUs, granted, left)
		}
		for _, id := range cpus {
			pins.VCPUs = append(pins.VCPUs, cpuset.Of(id))
		}
	}
	if err := g.NUMA.fits(pins.VCPUs, host); err != nil {
		return Pins{}, fmt.Errorf("placing %d vCPUs: %w", g.VCPUs, err)
	}
	if g.DedicatedIOThreads {
		for _, thread := range g.IOThreads {
			pins.pinIOThread(thread, cpuset.Of(free.takeThread()))
		}
	}
	if g.IsolateEmulator {
		for range g.emulatorCPUs() {
			pins.Emulator.Add(free.takeThread())
		}
	}
	if !g.DedicatedIOThreads {
		pins.shareIOThreads(g, granted)
	}
	return pins, nil
}

// CPUs is the number of CPUs that the guest needs.
func (g Guest) CPUs() int {
	need := g.VCPUs
	if g.DedicatedIOThreads {
		need += len(g.IOThreads)
	}
	if g.IsolateEmulator {
		need += g.emulatorCPUs()
	}
	return need
}

// near are the host NUMA nodes that a vCPU belongs on; empty for any.
func (g Guest) near(vcpu int) []int {
	if vcpu >= len(g.Near) {
		return nil
	}
	return g.Near[vcpu]
}

func (g Guest) threads() int { return max(g.ThreadsPerCore, 1) }

func (g Guest) emulatorCPUs() int { return max(g.EmulatorCPUs, 1) }

func (p *Pins) pinIOThread(thread int, cpus cpuset.Set) {
	if p.IOThreads == nil {
		p.IOThreads = map[int]cpuset.Set{}
	}
	p.IOThreads[thread] = cpus
}

// shareIOThreads puts IO threads without CPUs of their own on the CPUs of an isolated emulator. Otherwise it spreads
// them evenly over as many CPUs as there are vCPUs, the lowest granted ones, which are mostly
// the vCPUs' (vcpu.go:403, FormatDomainIOThreadPin).
func (p *Pins) shareIOThreads(g Guest, granted cpuset.Set) {
	if g.IsolateEmulator {
		for _, thread := range g.IOThreads {
			p.pinIOThread(thread, p.Emulator)
		}
		return
	}
	cpus := granted.List()[:g.VCPUs]
	count := len(g.IOThreads)
	for i, thread := range g.IOThreads {
		if count >= g.VCPUs {
			p.pinIOThread(thread, cpuset.Of(cpus[(i+1)%g.VCPUs]))
			continue
		}
		remaining := count - i
		size := (len(cpus) + remaining - 1) / remaining // the first slices are the longer ones
		p.pinIOThread(thread, cpuset.Of(cpus[:size]...))
		cpus = cpus[size:]
	}
}

// fits is nil if every NUMA node under the vCPUs can have a whole huge page (vcpu.go:622, numaMapping).
func (n *NUMA) fits(vcpus []cpuset.Set, host *cputopology.Topology) error {
	if n == nil || n.PageSize <= 0 {
		return nil
	}
	nodes := map[int]bool{}
	for _, cpus := range vcpus {
		cpu, _ := host.CPU(cpus.First())
		nodes[cpu.NUMANode] = true
	}
	if n.Memory/n.PageSize < int64(len(nodes)) {
		return fmt.Errorf("the vCPUs are on %d NUMA nodes, and the guest's memory of %d bytes has not one huge page of %d bytes for each; "+
			"give it more memory or smaller pages", len(nodes), n.Memory, n.PageSize)
	}
	if n.Memory%n.PageSize != 0 {
		return fmt.Errorf("the guest's memory of %d bytes is not a whole number of huge pages of %d bytes", n.Memory, n.PageSize)
	}
	return nil
}

func validate(g Guest, granted cpuset.Set, host *cputopology.Topology) error {
	if g.VCPUs < 1 || g.ThreadsPerCore < 0 || g.EmulatorCPUs < 0 {
		return errors.New("a guest needs at least one vCPU, and numbers of threads and CPUs are not negative")
	}
	seen := map[int]bool{}
	for _, thread := range g.IOThreads {
		if seen[thread] {
			return fmt.Errorf("IO thread %d is listed twice", thread)
		}
		seen[thread] = true
	}
	offline := granted.Minus(host.CPUs())
	if !offline.IsEmpty() {
		return fmt.Errorf("granted CPUs %s are not online on this host (%s); the topology may be out of date", offline, host.CPUs())
	}
	return nil
}
