// SPDX-License-Identifier: Apache-2.0

package cpumanager

import "corepin.dev/corepin/pkg/cputopology"

// The cost of the parts of a search, in steps of about 10 ns. All are measured with 8, 16, 32 and 64 NUMA nodes, and rounded up.
const (
	stepsPerCore = 3 // of the machine, in each NUMA node or socket, for the packed allocator
	// stepsPerCombination is for distribute-cpus-across-numa, of NUMA nodes. Each NUMA node of the machine adds one step, since
	// all of them count for the balance.
	stepsPerCombination = 10
	// stepsPerSorted is for each share of it, which is packed. All NUMA nodes and sockets are sorted for that.
	stepsPerSorted = 9
)

// Steps bounds what it costs to take need CPUs on a machine. The combinations of distribute-cpus-across-numa grow as
// three to the number of NUMA nodes, so a caller asks before it starts.
func (o *Options) Steps(t *cputopology.Topology, numaNodes, need int) int {
	steps := stepsPerCore * len(t.Cores()) * max(numaNodes, len(t.Sockets()))
	cpus := t.CPUs()
	group := 1
	if o.FullPCPUsOnly {
		group = cpus.Len() / len(t.Cores())
	}
	if !o.DistributeCPUsAcrossNUMA || need%group != 0 {
		return steps
	}
	steps += stepsPerSorted * numaNodes * (numaNodes + len(t.Sockets()))
	for k := fewestShares(cpus.Len(), numaNodes, need, group); k <= min(numaNodes, need/group); k++ {
		combinations := choose(numaNodes, k)
		if need%(k*group) != 0 || o.AlignBySocket {
			combinations <<= min(k, 20) // every choice of those that give the rest
		}
		steps += (stepsPerCombination + numaNodes) * combinations
	}
	return steps
}

// choose is the number of ways to choose k of n, or 2^20 if there are more.
func choose(n, k int) int {
	const most = 1 << 20
	ways := 1
	for i := range min(k, n-k) {
		ways = ways * (n - i) / (i + 1)
		if ways > most {
			return most
		}
	}
	return ways
}
