// Package kubeletcpu predicts what a kubelet will decide: given a node and a pod, which CPUs each
// container will get exclusively, or for what reason and with which words the pod will be refused.
//
// A refused pod is Failed for good, and nothing that counts CPUs per NUMA node foresees it: the kubelet
// decides by CPU id. Its decision is a pure function of what a Node holds, so this package computes the
// same function, by bitsets, in about a microsecond instead of half a millisecond. It does not improve
// on the kubelet: where that is odd, this is odd in the same way. test/conformance/kubeletcpu runs both
// side by side; facts are cited by file and version of k8s.io/kubernetes.
//
// # The algorithm
//
// A container of a Guaranteed pod that requests a whole number of CPUs gets CPUs of its own; everything
// else runs in the shared pool (PodOf). Free CPUs are the shared pool without the reserved ones. For each
// such container in turn, init containers first, three steps follow:
//
//  1. Where? The topology manager asks which sets of NUMA nodes have enough free CPUs (hints.go). A set is
//     preferred if no smaller one would do on an empty machine. The best is a preferred one, the smallest,
//     the lowest numbered. Its policy then decides: single-numa-node insists on one NUMA node, restricted on
//     a preferred set, best-effort takes any, none does not ask (topology_*.go). A "no" here is
//     TopologyAffinityError. Scope pod asks once, for as many CPUs as the pod needs at a time; scope
//     container asks for each container, after the ones before it have got theirs (admit.go).
//
//  2. May it? With full-pcpus-only the number must be a multiple of the threads of a core, and there must
//     be as many CPUs on cores without a reserved CPU, or it is an SMTAlignmentError (static.go).
//
//  3. Which? From the NUMA nodes of step 1, and only what these lack from the others, the allocator takes
//     the largest whole units that are needed: NUMA nodes and sockets, then cores, then single CPUs, each
//     time from the place with the fewest free CPUs (packed.go). Options change this step: a step for whole
//     uncore caches (uncore.go), CPUs instead of cores, or equal shares of NUMA nodes (distributed.go). Too
//     few CPUs is an UnexpectedAdmissionError; after step 1 under restricted or single-numa-node it cannot be.
//
// CPUs of an init container may be reused by the containers after it, except of a sidecar, which goes on
// running. What is not reused stays taken until the pod ends.
//
// # Around it
//
// Pods with pod-level resources get no CPUs of their own, unless the kubelet has an alpha gate on
// (podlevel.go). What a kubelet checks of a pod after all this, its amounts, is pkg/kubeletfit.
//
// Inexact tells when a prediction would be a guess: unknown is never treated as a fit. AdmitAll takes into
// account pods on their way to the node, whose order of arrival nobody knows. Restarts and Readmit tell what
// becomes of the pods when the kubelet restarts (restart.go). What belongs into the gaps
// later has its place: another hint provider (memory manager, devices) adds its sets of NUMA nodes to
// step 1, in room.best.
package kubeletcpu
