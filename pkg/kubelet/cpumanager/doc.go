// SPDX-License-Identifier: Apache-2.0

// Package cpumanager is the kubelet's CPU manager with the policy static: which CPUs it takes, and which NUMA nodes
// could serve a request.
//
// A request is a number of CPUs. Free CPUs are the shared pool without the reserved CPUs. The policy answers three
// questions, each in its own file:
//
//   - Where? Hints says which sets of NUMA nodes have enough free CPUs (hints.go).
//   - May it? With full-pcpus-only the number must be a multiple of the threads of a core, and there must be as many
//     free CPUs on cores without a reserved CPU (static.go).
//   - Which? From the NUMA nodes that the topology manager chose, and from others only what those lack, the packed
//     allocator takes the largest whole units that are needed. It takes NUMA nodes and sockets, then cores, then
//     single CPUs, each time from the unit with the fewest free CPUs (packed.go). Options change this: a step for
//     whole uncore caches (uncore.go), CPUs instead of cores, or equal shares of NUMA nodes (distributed.go).
//
// The source is pkg/kubelet/cm/cpumanager of k8s.io/kubernetes, v1.36.3. Where v1.34 to v1.38.0-beta.0 differ, the
// minor version is asked for: minor.go. The package does not improve on the kubelet: where that is odd, this is odd in the same way.
package cpumanager
