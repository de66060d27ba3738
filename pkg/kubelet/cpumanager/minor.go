// SPDX-License-Identifier: Apache-2.0

package cpumanager

// minor is the version of a kubelet: 36 stands for 1.36. Its methods are all that differs between versions in this
// package. Each names the source of the newer rule. What 1.38 does was read in v1.38.0-beta.0, a beta.
type minor int

// limitsShares is set where distribute-cpus-across-numa asks no NUMA node for a larger share than it has, and prefers NUMA
// nodes in one socket with align-by-socket (takeByTopologyNUMADistributed in cpu_assignment.go, v1.37.2).
func (m minor) limitsShares() bool { return m >= 37 }

// keepsCombinations is set where the best combination of NUMA nodes stays as it was found, since each one is a copy
// (iterateCombinations in cpu_assignment.go, v1.38.0-beta.0). See kept.
func (m minor) keepsCombinations() bool { return m >= 38 }

// countsGroups is set where NUMA nodes give what equal shares leave over only if they have enough whole groups, not only
// enough CPUs (takeByTopologyNUMADistributed in cpu_assignment.go, v1.38.0-beta.0).
func (m minor) countsGroups() bool { return m >= 38 }

// heedsHint is set where CPUs are distributed over at least as many NUMA nodes as the topology manager chose
// (rangeNUMANodesNeededToSatisfy in cpu_assignment.go, v1.38.0-beta.0).
func (m minor) heedsHint() bool { return m >= 38 }

// countsOwnCPUs is set where a socket or a core is free if all its own CPUs are. Before, it is free if as many are as the
// mean one has (isSocketFree and isCoreFree in cpu_assignment.go, v1.38.0-beta.0).
func (m minor) countsOwnCPUs() bool { return m >= 38 }

// takesFullCachesFirst is set where all uncore caches that can be taken whole are taken before a part of any, and each is
// listed once (takeUncoreCache and sortAvailableUncoreCaches in cpu_assignment.go, v1.38.0-beta.0).
func (m minor) takesFullCachesFirst() bool { return m >= 38 }

// goesAroundCores is set where distribute-cpus-across-cores takes one CPU of each core in turn. Before, it takes CPUs by
// id (sortAvailableCPUsSpread in cpu_assignment.go, v1.38.0-beta.0).
func (m minor) goesAroundCores() bool { return m >= 38 }
