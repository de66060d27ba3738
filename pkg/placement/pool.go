// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"cmp"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// pool is the granted CPUs that nothing is pinned to yet, by NUMA node in the order of their ids.
//
// It is KubeVirt's relaxed pool (vcpu.go:120-290). A host core is whole while a guest core fits into it. What remains
// of a core afterwards, and cores that were too small from the start, are leftovers.
type pool struct {
	threads int // per guest core
	cells   []*cell
}

type cell struct {
	node      int     // the NUMA node
	whole     [][]int // CPUs by host core, each of at least a guest core's threads
	leftovers []int
}

func newPool(granted cpuset.Set, threads int, host *cputopology.Topology) *pool {
	p := &pool{threads: threads}
	cells := map[int]*cell{}
	for _, node := range host.NUMANodes() {
		cells[node.ID] = &cell{node: node.ID}
		p.cells = append(p.cells, cells[node.ID])
	}
	cores := slices.Clone(host.Cores())
	slices.SortFunc(cores, func(a, b cputopology.Core) int { return cmp.Compare(a.ID, b.ID) })
	for _, core := range cores {
		cpus := core.CPUs.Intersect(granted).List()
		if len(cpus) > 0 {
			cells[core.NUMANode].put(cpus, threads)
		}
	}
	return p
}

// put adds CPUs of one host core.
func (c *cell) put(cpus []int, threads int) {
	if len(cpus) >= threads {
		c.whole = append(c.whole, cpus)
		return
	}
	c.leftovers = append(c.leftovers, cpus...)
}

// takeCore takes n CPUs for one guest core: from one host core if any is whole, else from one NUMA
// node's leftovers, else, where it may span NUMA nodes, from anywhere. What is on one of the NUMA nodes in near, if any
// are given, comes before all else. The caller has made sure that there are n left; nil means that they are not on one
// NUMA node.
func (p *pool) takeCore(n int, maySpan bool, near []int) []int {
	if len(near) > 0 {
		cpus := p.takeOn(n, func(c *cell) bool { return slices.Contains(near, c.node) })
		if cpus != nil {
			return cpus
		}
	}
	cpus := p.takeOn(n, func(*cell) bool { return true })
	if cpus != nil || !maySpan {
		return cpus
	}
	for _, c := range p.cells {
		cpus = append(cpus, c.takeLeftovers(min(n-len(cpus), len(c.leftovers)))...)
	}
	return cpus
}

// takeOn takes n CPUs of one NUMA node among some, of a whole core if there is one.
func (p *pool) takeOn(n int, among func(*cell) bool) []int {
	for _, c := range p.cells {
		if among(c) && len(c.whole) > 0 {
			return c.takeWhole(n, p.threads)
		}
	}
	for _, c := range p.cells {
		if among(c) && len(c.leftovers) >= n {
			return c.takeLeftovers(n)
		}
	}
	return nil
}

// takeThread takes one CPU for an emulator or IO thread, from the first NUMA node that has any: a leftover
// if there is one, so that whole cores stay whole (vcpu.go, GetThread). The caller has made sure that
// there is a CPU left.
func (p *pool) takeThread() int {
	for _, c := range p.cells {
		switch {
		case len(c.leftovers) > 0:
			return c.takeLeftovers(1)[0]
		case len(c.whole) > 0:
			return c.takeWhole(1, p.threads)[0]
		}
	}
	return -1
}

// takeWhole takes n CPUs of the first whole core; the rest of the core stays whole if a guest core still
// fits, and becomes leftovers otherwise.
func (c *cell) takeWhole(n, threads int) []int {
	taken := c.whole[0][:n]
	rest := c.whole[0][n:]
	if len(rest) >= threads {
		c.whole[0] = rest
	} else {
		c.whole = c.whole[1:]
		c.leftovers = append(c.leftovers, rest...)
	}
	return taken
}

func (c *cell) takeLeftovers(n int) []int {
	taken := c.leftovers[:n]
	c.leftovers = c.leftovers[n:]
	return taken
}
