// SPDX-License-Identifier: Apache-2.0

// Package explain says why a node does not take a pod that wants CPUs of its own: what is free there, what is
// missing, and what would help, in numbers.
//
//	n3: 6 free CPUs in NUMA node 0 as 2 whole cores + 2 half cores, 2 in NUMA node 1 as 1 whole core;
//	needs 4 whole cores in one NUMA node; fits if the pod asks for 2 CPUs fewer (6 instead of 8), or if VM
//	vms/b (2 CPUs) moves
//
// # The promise
//
// No hint is ever wrong. A hint is a change of the node or the demand, and it is given only after the verdict (package
// verdict) was asked again with that change and said yes. So a node without a hint is one where no single change of those
// below helps. Hints are about CPUs. Whether memory, taints or affinity allow the same is not checked here.
//
// The changes, in the order in which they are listed (hints.go):
//
//   - the node gets its label
//   - the pod asks for fewer CPUs, or for a few more where a rule wants that
//   - a container asks for less memory of a type, or for fewer devices
//   - its containers in the shared pool ask for less
//   - a container besides the largest one gives up its exclusive CPUs
//   - one other pod moves, or two, or all
//   - the kubelet has another topology manager policy or scope, gives parts of cores, has its reserved CPUs on whole cores,
//     or runs the static CPU manager
//
// # Two counts
//
// kube-scheduler counts millicores, and the kubelet grants CPUs. The answers can differ: 8 allocatable CPUs do not hold two
// VMs of 4 with a sidecar of 200m each, although no CPU of the second one is taken. Where the kubelet cannot be predicted the
// count alone decides, if the scheduler estimates. Then the text says so, and why.
//
// All functions are pure and bounded: a few hundred verdicts for a node at most. They are for pods that found no node, not
// for every node of every pod.
package explain
