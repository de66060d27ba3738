// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// dice makes up scenarios.
type dice struct{ *rand.Rand }

func newDice(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 0))} }

func (d dice) oneIn(n int) bool { return d.IntN(n) == 0 }

func pickOne[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

// acrossNUMA is the option that gives a container shares of several NUMA nodes.
const acrossNUMA = "distribute-cpus-across-numa"

// stepsPerScenario is enough to fill and fragment most machines.
const stepsPerScenario = 24

func (d dice) scenario(podLevel bool) scenario {
	s := scenario{
		machine: d.machine(),
		policy: pickOne(d, topologymanager.PolicyNone, topologymanager.PolicyBestEffort, topologymanager.PolicyRestricted,
			topologymanager.PolicySingleNUMANode),
		scope: pickOne(d, topologymanager.ScopeContainer, topologymanager.ScopePod),
	}
	s.cpuOptions = d.cpuOptions()
	if d.oneIn(3) {
		s.topologyOptions = append(s.topologyOptions, "prefer-closest-numa-nodes")
		if !d.oneIn(6) {
			s.machine = d.withDistances(s.machine)
		}
	}
	if d.oneIn(5) {
		s.topologyOptions = append(s.topologyOptions, "max-allowable-numa-nodes=10")
	}
	d.reserve(&s)
	s.podLevel = podLevel
	d.steps(&s)
	d.besides(&s)
	return s
}

// cpuOptions makes up options, mostly such that a kubelet starts with.
func (d dice) cpuOptions() []string {
	const full, cores, uncore = "full-pcpus-only", "distribute-cpus-across-cores", "prefer-align-cpus-by-uncorecache"
	var options []string
	for _, option := range []struct {
		name    string
		one, in int
		not     []string
	}{
		{full, 1, 2, nil}, {"strict-cpu-reservation", 1, 3, nil}, {acrossNUMA, 2, 5, nil}, {cores, 1, 6, []string{full, acrossNUMA}},
		{"align-by-socket", 1, 4, nil}, {uncore, 2, 5, []string{acrossNUMA, cores}},
	} {
		refused := slices.ContainsFunc(option.not, func(name string) bool { return slices.Contains(options, name) })
		if d.IntN(option.in) < option.one && (!refused || d.oneIn(20)) {
			options = append(options, option.name)
		}
	}
	return options
}

// machine makes up a machine: mostly a regular one, often with a twist, sometimes one that nobody builds.
func (d dice) machine() *cputopology.Topology {
	if d.oneIn(100) {
		return cputopology.MustParse("2 sockets x 4 numa x 32 cores x 2 threads") // 512 CPUs
	}
	numa := pickOne(d, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 6, 8, 8) // The kubelet takes long over 8.
	sockets := numa
	switch d.IntN(5) {
	case 0:
		sockets = 1
	case 1:
		sockets = numa * 2 // more sockets than NUMA nodes
	case 2, 3:
		if numa%2 == 0 {
			sockets = numa / 2
		}
	}
	perNUMA, threads := 1+d.IntN(max(2, 24/numa)), pickOne(d, 1, 2, 2, 2, 4)
	if d.oneIn(6) { // of a size at which there are many ways to divide a number of CPUs nearly alike
		perNUMA = 8 + d.IntN(10)
	}
	if sockets > numa {
		perNUMA += perNUMA % 2
	}
	caches := pickOne(d, 1, 2, 2, 3) // in a NUMA node
	adjacent := d.oneIn(3)
	total := numa * perNUMA
	var cores []cputopology.Core
	for i := range total {
		core := cputopology.Core{NUMANode: i / perNUMA, Socket: i * sockets / total, UncoreCache: i * numa * caches / total}
		for thread := range threads {
			if adjacent {
				core.CPUs.Add(i*threads + thread)
			} else {
				core.CPUs.Add(i + thread*total)
			}
		}
		cores = append(cores, core)
	}
	cores = d.twist(cores)
	machine, err := cputopology.New(cores)
	if err == nil && d.oneIn(8) {
		machine, err = cputopology.New(cores, cputopology.NUMANode{ID: pickOne(d, numa, numa+3)}) // without CPUs
	}
	if err != nil {
		panic(fmt.Sprintf("made up a machine that is none: %v", err))
	}
	return machine
}

func (d dice) twist(cores []cputopology.Core) []cputopology.Core {
	switch d.IntN(9) {
	case 0: // CPUs offline
		for i := range cores {
			for id := range cores[i].CPUs.All() {
				if d.oneIn(6) && cores[i].CPUs.Len() > 1 {
					cores[i].CPUs.Remove(id)
				}
			}
		}
	case 1: // cores offline
		kept := slices.DeleteFunc(slices.Clone(cores), func(cputopology.Core) bool { return d.oneIn(4) })
		if len(kept) > 0 {
			return kept
		}
	case 2: // hybrid: the later cores have one thread
		next := 0
		for i := range cores {
			threads := cores[i].CPUs.Len()
			if i > len(cores)/2 {
				threads = 1
			}
			cores[i].CPUs = cpuset.Set{}
			for range threads {
				cores[i].CPUs.Add(next)
				next++
			}
		}
	case 3: // ids in no order
		places := d.Perm(len(cores))
		shuffled := slices.Clone(cores)
		for i := range cores {
			shuffled[i].NUMANode, shuffled[i].Socket = cores[places[i]].NUMANode, cores[places[i]].Socket
			shuffled[i].UncoreCache = cores[places[i]].UncoreCache
		}
		return shuffled
	case 4: // NUMA nodes with gaps between their ids: everywhere, or one
		from, gap := 1+d.IntN(4), 1+d.IntN(2)
		everywhere := d.oneIn(3)
		for i := range cores {
			if everywhere {
				cores[i].NUMANode *= 2
			} else if cores[i].NUMANode >= from {
				cores[i].NUMANode += gap
			}
		}
	case 5: // nobody builds this: everything crosses everything
		numa, sockets := 2+d.IntN(3), 1+d.IntN(3)
		for i := range cores {
			cores[i].NUMANode, cores[i].Socket, cores[i].UncoreCache = d.IntN(numa), d.IntN(sockets), d.IntN(4)
		}
	}
	return cores
}

func (d dice) withDistances(t *cputopology.Topology) *cputopology.Topology {
	nodes := slices.Clone(t.NUMANodes())
	for i := range nodes {
		nodes[i].Distances = make([]int, len(nodes))
	}
	for i := range nodes {
		nodes[i].Distances[i] = 10
		for j := range i {
			nodes[i].Distances[j] = pickOne(d, 12, 16, 21, 32)
			nodes[j].Distances[i] = nodes[i].Distances[j]
		}
	}
	machine, err := cputopology.New(t.Cores(), nodes...)
	if err != nil {
		panic(fmt.Sprintf("made up distances that are none: %v", err))
	}
	return machine
}

func (d dice) reserve(s *scenario) {
	all := s.machine.CPUs().List()
	switch d.IntN(5) {
	case 0: // any CPUs: half cores, too
		for range 1 + d.IntN(4) {
			s.reserved.Add(pickOne(d, all...))
		}
	case 1: // whole cores
		for range 1 + d.IntN(2) {
			s.reserved = s.reserved.Union(pickOne(d, s.machine.Cores()...).CPUs)
		}
	case 2:
		s.reservedCount = min(1+d.IntN(5), len(all))
	case 3: // of each NUMA node alike
		for _, node := range s.machine.NUMANodes() {
			if core, ok := s.machine.CoreOf(node.CPUs.First()); ok {
				s.reserved = s.reserved.Union(core.CPUs)
			}
		}
	default:
		s.reserved.Add(all[0])
	}
}

func (d dice) steps(s *scenario) {
	var present []string
	for i := range stepsPerScenario {
		if s.podLevel && d.oneIn(25) || d.oneIn(50) {
			s.steps = append(s.steps, step{restart: true})
			continue
		}
		if len(present) > 0 && d.oneIn(3) {
			at := d.IntN(len(present))
			s.steps = append(s.steps, step{pod: present[at]})
			present = slices.Delete(present, at, at+1)
			continue
		}
		name := fmt.Sprintf("p%d", i)
		next := step{add: true, pod: name}
		if d.oneIn(20) {
			next.class = pickOne(d, "burstable", "pod-level 64")
		}
		kinds := []admission.Kind{admission.App}
		for d.oneIn(3) && len(kinds) < 5 {
			kinds = append(kinds, pickOne(d, admission.App, admission.App, admission.Init, admission.Init, admission.Sidecar))
		}
		// Init containers and sidecars mix, and come before the others.
		slices.SortStableFunc(kinds, func(a, b admission.Kind) int { return min(int(b), 1) - min(int(a), 1) })
		for c, kind := range kinds {
			next.wants = append(next.wants, admission.Container{Name: fmt.Sprintf("c%d", c), Kind: kind, CPUs: d.size(s)})
		}
		if s.podLevel && d.oneIn(2) {
			if last := len(next.wants) - 1; last > 0 && d.oneIn(2) {
				next.wants[last].CPUs = 0 // something to share with
			}
			next.class = d.podLevel(s, next.wants)
		}
		s.steps = append(s.steps, next)
		present = append(present, name)
	}
}

// podLevel is what the pod of wants asks for as a whole: no less than its containers do at once.
func (d dice) podLevel(s *scenario, wants []admission.Container) string {
	sidecars, apps, most, half := 0, 0, 0, 0
	for _, c := range wants {
		if c.CPUs == 0 {
			half++
		}
		switch c.Kind {
		case admission.Init:
			most = max(most, sidecars+c.CPUs)
		case admission.Sidecar:
			sidecars += c.CPUs
		default:
			apps += c.CPUs
		}
	}
	cpus := max(most, sidecars+apps)
	if d.oneIn(10) {
		return fmt.Sprintf("pod-level %d", 1000*cpus+500*(half+1)) + "m"
	}
	if half > 0 && d.oneIn(3) { // the kubelet does not know of the API server's rules
		return fmt.Sprintf("pod-level %d", max(1, cpus))
	}
	return fmt.Sprintf("pod-level %d", cpus+(half+1)/2+max(0, d.IntN(6)-2)*s.machine.ThreadsPerCore()/2)
}

// size is a number of CPUs that is likely to be an edge of something.
func (d dice) size(s *scenario) int {
	threads, all := s.machine.ThreadsPerCore(), s.machine.CPUs().Len()
	node := pickOne(d, s.machine.NUMANodes()...).CPUs.Len()
	cache := pickOne(d, s.machine.UncoreUnits()...).CPUs.Len()
	if slices.Contains(s.cpuOptions, acrossNUMA) && d.oneIn(2) { // shares that leave a rest, or none
		return max(1, (1+d.IntN(all))/threads) * threads
	}
	switch d.IntN(12) {
	case 0:
		return 0
	case 7: // several NUMA nodes
		return max(1, all*(1+d.IntN(8))/8-d.IntN(4))
	case 1, 2:
		return 1 + d.IntN(4)
	case 3:
		return max(1, node-d.IntN(3)*threads)
	case 4:
		return max(1, node/2)
	case 5:
		return 1 + d.IntN(all)
	case 6:
		return node + threads*d.IntN(3)
	case 8: // of a cache, or of one and a part
		return max(1, cache*d.IntN(3)+1+d.IntN(max(1, cache)))
	}
	return threads * (1 + d.IntN(max(1, all/threads/4)))
}
