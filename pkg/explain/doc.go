// Package explain tells why a node does not take a pod that wants CPUs of its own: what is free there, what
// is missing, and what would help, in numbers.
//
//	n3: 6 free CPUs in NUMA node 0 as 2 whole cores + 2 half cores, 2 in NUMA node 1 as 1 whole core;
//	needs 4 whole cores in one NUMA node; fits if the pod asks for 2 CPUs fewer (6 instead of 8), or if VM
//	vms/b (2 CPUs) moves
//
// # The promise
//
// No hint is ever wrong. A hint is not a rule of thumb about a refusal: it is a change of the Case, and it
// is given only after the prediction was run again with that change made and said yes. A change that cannot
// be tried is not offered, so a node without any hint is one where no single change of those below helps.
// Hints are about CPUs; whether memory, taints or affinity allow the same is for others to say.
//
// The changes that are tried, in the order in which they are told (hints.go): the node gets its label; the
// pod asks for fewer CPUs, or for a few more where that is what a rule wants; its containers in the shared
// pool ask for less; a container beside gives up CPUs of its own; one other pod goes, or two, or all; the
// kubelet has another topology manager policy or scope, gives parts of cores, has its reserved CPUs on whole
// cores, or runs the static CPU manager.
//
// # What a node is asked
//
// A Case is judged in the order in which it would fail (case.go): the label, the report, kube-scheduler's
// count of millicores, and then the kubelet itself, with the pods in flight before it (pkg/kubelet/admission), and
// the VM's own wishes about the CPUs it gets. The count comes to its own answer: 8 allocatable CPUs do not
// hold two VMs of 4 with a sidecar of 200m each, although no CPU of the second one is taken. Where the kubelet cannot
// be predicted the count alone decides, if the scheduler estimates; then the words say so, and the cause.
//
// All functions are pure, and bounded: a few hundred predictions for a node at the most. They are for pods that
// found no node, not for every node of every pod.
package explain
