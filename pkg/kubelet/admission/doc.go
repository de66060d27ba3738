// SPDX-License-Identifier: Apache-2.0

// Package admission predicts what a kubelet will decide about a pod. It says which CPUs each container gets exclusively, and
// which NUMA nodes its memory and devices come from. Or it says for what reason and with which words the pod is refused.
//
// A refused pod is Failed for good. Nothing that counts CPUs per NUMA node foresees a refusal, since the kubelet
// decides by CPU id. Its decision is a pure function of what a Node holds. This package computes the same function
// with bitsets, in about a microsecond instead of half a millisecond. test/conformance/kubelet134, kubelet135, kubelet136,
// kubelet137 and kubelet138 run both side by side. Facts are cited by file and version of k8s.io/kubernetes.
//
// # The algorithm
//
// A container of a Guaranteed pod that requests a whole number of CPUs gets exclusive CPUs. Every other container
// runs in the shared pool (PodOf). Under the memory manager's policy Static, every container of a Guaranteed pod gets memory.
// Pods of every QoS class get the devices that they ask for. For each container, init containers first, the managers act:
//
//  1. The topology manager chooses NUMA nodes, from what the device manager, the CPU manager and the memory manager say of
//     them. A refusal here is TopologyAffinityError. Scope pod chooses once, for as much as the pod needs at once. Scope
//     container chooses for each container, after the ones before it have got theirs. See pkg/kubelet/topologymanager.
//  2. The device manager takes devices, from those NUMA nodes first. Which ones is up to the kubelet and the device plugin, so
//     only their number is predicted. See pkg/kubelet/devicemanager.
//  3. The CPU manager takes CPUs, on those NUMA nodes if they have enough. A refusal here is SMTAlignmentError, or
//     UnexpectedAdmissionError where CPUs are too few. See pkg/kubelet/cpumanager.
//  4. The memory manager takes memory, from those NUMA nodes or from a set that includes them. See
//     pkg/kubelet/memorymanager.
//
// CPUs of an init container may be reused by the containers after it. Those of a sidecar may not, since it goes on
// running. What is not reused stays taken until the pod ends.
//
// # Around it
//
// Pods with pod-level resources get no exclusive CPUs, unless the kubelet has an alpha gate on (podlevel.go). After
// all this a kubelet checks the amounts that a pod requests: see pkg/kubelet/predicates.
//
// Inexact says when a prediction would be a guess: unknown is never treated as a fit. AdmitAfter takes into account
// pods on their way to the node, which may arrive in any order. Restarts and Readmit say what becomes of the pods
// when the kubelet restarts (restart.go).
package admission
