// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"maps"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// Check says why p is not a valid placement of g; nil means that it is one, whoever made it.
//
// A valid placement keeps to these rules, as far as the granted CPUs allow the last two:
//   - Nothing may run outside the granted CPUs.
//   - Every vCPU has one CPU to itself. An isolated emulator and dedicated IO threads have CPUs to themselves.
//   - IO threads that are pinned beside an isolated emulator keep off the vCPUs' CPUs.
//   - No guest core spans NUMA nodes that are passed through.
//   - No guest core spans host cores.
//   - Every vCPU is on a NUMA node that its memory is bound to.
//
// The error names the first thread that is wrong.
func Check(p Pins, g Guest, granted cpuset.Set, host *cputopology.Topology) error {
	if err := validate(g, granted, host); err != nil {
		return fmt.Errorf("checking the placement of %d vCPUs: %w", g.VCPUs, err)
	}
	if len(p.VCPUs) != g.VCPUs {
		return fmt.Errorf("%d vCPUs are placed and the guest has %d", len(p.VCPUs), g.VCPUs)
	}
	o := owners{granted: granted}
	for i, cpus := range p.VCPUs {
		who := fmt.Sprintf("vCPU %d", i)
		if err := o.claim(who, cpus); err != nil {
			return err
		}
		if cpus.Len() > 1 {
			return fmt.Errorf("%s floats over CPUs %s instead of keeping to one", who, cpus)
		}
	}
	if err := checkNear(p, g, granted, host); err != nil {
		return err
	}
	if err := checkCores(p.VCPUs, g, granted, host); err != nil {
		return err
	}
	vcpus := o.claimed()
	if g.IsolateEmulator {
		if err := o.claim("the emulator", p.Emulator); err != nil {
			return err
		}
	} else if err := o.inside("the emulator", p.Emulator); err != nil {
		return err
	}
	return checkIOThreads(p, g, &o, vcpus)
}

// checkNear refuses vCPUs that are away from the memory of their guest NUMA nodes where the granted CPUs allow better.
func checkNear(p Pins, g Guest, granted cpuset.Set, host *cputopology.Topology) error {
	away := g.away(p, host)
	if len(away) == 0 {
		return nil
	}
	best, err := Place(g, granted, host)
	if err != nil || len(g.away(best, host)) >= len(away) {
		return nil // no placement is better
	}
	cpus := p.VCPUs[away[0]]
	cpu, _ := host.CPU(cpus.First())
	return fmt.Errorf("vCPU %d is on CPU %s of NUMA node %d, and the memory of its guest NUMA node is on %v",
		away[0], cpus, cpu.NUMANode, g.near(away[0]))
}

// away are the vCPUs that are not where the memory of their guest NUMA nodes is.
func (g Guest) away(p Pins, host *cputopology.Topology) (vcpus []int) {
	for i, cpus := range p.VCPUs {
		cpu, _ := host.CPU(cpus.First())
		near := g.near(i)
		if len(near) > 0 && !slices.Contains(near, cpu.NUMANode) {
			vcpus = append(vcpus, i)
		}
	}
	return vcpus
}

// checkCores refuses guest cores that span host cores where the granted CPUs allow better.
func checkCores(vcpus []cpuset.Set, g Guest, granted cpuset.Set, host *cputopology.Topology) error {
	threads := g.threads()
	split := 0
	firstSplit := 0
	for first := 0; first+threads <= len(vcpus) && threads > 1; first += threads {
		cores := map[int]bool{}
		nodes := map[int]bool{}
		for _, cpus := range vcpus[first : first+threads] {
			cpu, _ := host.CPU(cpus.First())
			cores[cpu.Core] = true
			nodes[cpu.NUMANode] = true
		}
		if g.NUMA != nil && len(nodes) > 1 {
			return fmt.Errorf("vCPUs %d to %d are one guest core and on %d NUMA nodes", first, first+threads-1, len(nodes))
		}
		if len(cores) > 1 {
			if split == 0 {
				firstSplit = first
			}
			split++
		}
	}
	need := len(vcpus)/threads - wholeCores(threads, granted, host)
	if split > max(need, 0) {
		return fmt.Errorf("vCPUs %d to %d are one guest core and on different host cores, and the granted CPUs %s have a whole one for it",
			firstSplit, firstSplit+threads-1, granted)
	}
	return nil
}

// wholeCores counts the guest cores that fit into granted host cores without spanning any.
func wholeCores(threads int, granted cpuset.Set, host *cputopology.Topology) int {
	whole := 0
	for _, core := range host.Cores() {
		whole += core.CPUs.Intersect(granted).Len() / threads
	}
	return whole
}

func checkIOThreads(p Pins, g Guest, o *owners, vcpus cpuset.Set) error {
	for _, thread := range slices.Sorted(maps.Keys(p.IOThreads)) {
		who := fmt.Sprintf("IO thread %d", thread)
		cpus := p.IOThreads[thread]
		if !slices.Contains(g.IOThreads, thread) {
			return fmt.Errorf("%s is placed and the guest has none of that id", who)
		}
		if err := o.inside(who, cpus); err != nil {
			return err
		}
		shared := cpus.Intersect(vcpus)
		if g.IsolateEmulator && !g.DedicatedIOThreads && !shared.IsEmpty() {
			return fmt.Errorf("%s and a vCPU share CPU %s, and the emulator's CPUs are there for it", who, shared)
		}
	}
	if !g.DedicatedIOThreads {
		return nil
	}
	for _, thread := range g.IOThreads {
		if err := o.claim(fmt.Sprintf("IO thread %d", thread), p.IOThreads[thread]); err != nil {
			return err
		}
	}
	return nil
}

// owners remembers which thread has which CPUs to itself.
type owners struct {
	granted cpuset.Set
	claims  []claim
}

type claim struct {
	who  string
	cpus cpuset.Set
}

// claim gives CPUs to a thread alone.
func (o *owners) claim(who string, cpus cpuset.Set) error {
	if cpus.IsEmpty() {
		return fmt.Errorf("%s has no CPU of its own", who)
	}
	if err := o.inside(who, cpus); err != nil {
		return err
	}
	for _, other := range o.claims {
		shared := other.cpus.Intersect(cpus)
		if !shared.IsEmpty() {
			return fmt.Errorf("%s and %s share CPU %s", other.who, who, shared)
		}
	}
	o.claims = append(o.claims, claim{who, cpus})
	return nil
}

// claimed are the CPUs that threads have to themselves so far.
func (o *owners) claimed() cpuset.Set {
	var all cpuset.Set
	for _, c := range o.claims {
		all = all.Union(c.cpus)
	}
	return all
}

// inside refuses CPUs that are not granted.
func (o *owners) inside(who string, cpus cpuset.Set) error {
	outside := cpus.Minus(o.granted)
	if !outside.IsEmpty() {
		return fmt.Errorf("%s may run on CPU %s, which is not granted (%s)", who, outside, o.granted)
	}
	return nil
}
