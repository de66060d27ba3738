// SPDX-License-Identifier: Apache-2.0

// Package dedicatedcpu is the scheduler plugin DedicatedCPU. A pod that asks for exclusive CPUs goes only to a node whose
// kubelet will admit it.
//
// The package has one file for each extension point, under its name. Around it are packages with one subject each:
// scoring rates nodes, ranking knows the best of all, wakeup tries pending pods again, explaining writes events with numbers, nodes predicts kubelets
// and vms knows the VMs. Package fragmentation measures how many more VMs fit, beside the cycles.
//
// # A scheduling cycle
//
// PreFilter reads what the pod asks for (demand.go). It skips a pod that asks for no exclusive CPUs and is not the
// launcher pod of a dedicated VM; such a pod costs nothing more. It refuses a launcher pod that no kubelet would give
// exclusive CPUs: one that is not Guaranteed, or asks for 1500m. The message says what is wrong and how to fix it. It
// also refuses the launcher pod of a VM that breaks a rule of pkg/vmi, and lists every broken rule. The policy in
// manifests/admission refuses the same VMs earlier, but not those that are older than the policy. Without a VMI the pod
// is judged alone. Targets of migrations are not held to rules, since their VMs are running already.
//
// In a cluster of more than 100 nodes PreFilter also names the nodes that are best for a VM, of all that there are (narrow.go, package
// ranking). kube-scheduler filters and scores only those. Without that it looks at a sample, a tenth of 5,000 nodes. Pods whose
// place other plugins have to weigh are left to kube-scheduler's own search.
//
// Filter asks package nodes what the node's kubelet will decide. A refusal becomes one of a few constant reasons
// (reasons.go). Its code is Unschedulable if an eviction could help and UnschedulableAndUnresolvable if not, so that
// preemption evicts nobody in vain. Filter also checks three things for VMs:
//
//   - The node needs the label cpumanager=true or kubevirt.io/cpumanager=true, as in KubeVirt, unless the argument
//     cpuManagerNodes is Preferred.
//   - A node whose kubelet cannot be predicted exactly is judged by counts, or refused, as the argument
//     nodesWithoutExactReport says. For some minutes it is waited for, if it is new or had a good report (package nodes).
//   - With the argument restartSafety the kubelet must be able to start again with the VM there and lose no VM.
//   - The CPUs that the kubelet would grant must satisfy the guest (guest.go). The threads of a guest core need one host
//     core. An isolated emulator and each pooled IO thread need a CPU. The CPUs may be on no more NUMA nodes than the
//     guest has huge pages. All of this must hold in every order in which the kubelet may hear of the pods in flight. KubeVirt finds out after
//     the pod is bound, or not at all.
//
// Score prefers one of the nodes that can take a VM, by the argument scoringStrategy. Package scoring documents the
// scores, and how they compare with those of the stock plugins. Millicores and memory are counted by NodeResourcesFit, as
// always, with sidecars.
//
// Reserve reserves nothing. The plugin keeps no ledger: a bound or assumed pod is in the NodeInfo from now on, and
// package nodes counts it as in flight until the report has it. Reserve only notes the prediction, so that it can be compared
// with what the kubelet does (audit.go). The result is metric corepin_scheduler_predictions_total. A mismatch is logged as a
// scenario that the differential tests of package admission can replay.
//
// Bind binds as DefaultBinder does. It refuses a pod whose place does not hold any more, since others left the node or came to it while the pod
// waited for its volumes or its group. Where the answer to a binding was lost, it asks the API server for the outcome, so that the place
// is not given to another pod (bind.go).
//
// PostBind counts what was known of the node. A VM that is bound by an estimate gets an event that says so.
//
// # Preemption
//
// Preemption is kube-scheduler's own. It asks Filter about copies of nodes without the victims, with a copy of the cycle
// state; that is how Filter knows (cycle.go). Nodeview answers as for any other set of pods and stores nothing. So the
// victims are those whose CPUs, cores and NUMA node make room. There are three exceptions (eviction.go):
//
//   - If a victim is bound and not reported yet, nobody knows what would be free without it. The node waits for its report.
//     A victim that no kubelet has heard of, since it waits for its volumes, is no such case.
//   - For a VM nobody is evicted from a node that is only estimated, since the eviction could be in vain.
//   - For a VM nobody is evicted while another node that may have room waits for its report, for half a minute at most.
//
// A pod that others may be evicted for is tried again two seconds later, whatever becomes of them. kube-scheduler can miss the
// end of victims that it had not bound yet. The pod would wait for five minutes then (package wakeup).
//
// While the victims end, kube-scheduler adds the nominated pod to the node for all pods that are not more important. Filter
// then keeps the very place that the victims leave, by NUMA node (package verdict). A VM's preemption is a shutdown: KubeVirt
// does not migrate it, whatever its evictionStrategy.
//
// PostFilter is called for a pod that found no node, after preemption found none either. It ranks the nodes that were
// refused for CPUs and hands the nearest three to package explaining, which works in a goroutine of its own and writes an
// event with numbers. In it pods and VMs of other namespaces are counted, but not named.
//
// # Pods of no VM
//
// Pods that ask for exclusive CPUs (Guaranteed, whole CPUs) and are no launcher pods are refused too where a kubelet is
// predicted to refuse them. Nodes that cannot be predicted, or have no CPU manager, take them as in kube-scheduler. They
// are not scored. With the argument otherPods: Ignore the plugin leaves them alone.
//
// # Nodes that are silent, and cycles that are long
//
// A node whose agent is not heard from is estimated, and scores below every other node (package heard). The predictions of
// one cycle may take five seconds together; nodes after that are refused, and the pod is tried again a second later
// (filter.go). A call that has not ended for a minute ends the process (package standstill). Pods that nobody schedules,
// since no replica leads, get an event (package unattended).
//
// # Two schedulers
//
// Another scheduler, for example kube-scheduler itself, may bind pods with exclusive CPUs to the same nodes. Neither
// scheduler sees what the other is about to do. Two pods bound to one node within the tens of milliseconds that a watch
// takes may count on the same CPUs, and the kubelet refuses the second. Pods that were bound earlier are seen and
// counted like all others. test/integration measures how often this happens under load. In one run two schedulers bound
// 96 pods, half of them VMs, as fast as they could to three nodes until these were full. Some 30 VMs were bound in
// the same second as a pod of the other scheduler, and the kubelets refused none. In another run, of 180 pods, they
// refused one pod, not a VM.
//
// It cannot happen in one process: manifests/overlays/single-process serves the profile default-scheduler too. The
// profiles of a process share their state (shared.go): one watch, one copy of each report, and one prediction for pods
// that ask for the same, if their arguments are equal.
//
// # Waking up
//
// While the reports and VMs are listed for the first time, VMs are kept out of the scheduling queue (preenqueue.go), for
// ten seconds at most.
//
// A pod that no node could take waits in the scheduling queue until an event makes it worth another try. Deleted pods,
// new nodes, labels and taints are kube-scheduler's own events, with hints (hints.go). A hint changes nothing.
//
// A changed report is not an event. If NodeCPU were registered as one, kube-scheduler would start a watch of its own and
// wait for its first list before it schedules anything; without the CRD that is for ever
// (cmd/kube-scheduler/app/server.go and pkg/scheduler/eventhandlers.go, v1.36.3). It would also keep a second copy of
// every report, since plugins cannot read the cache of that watch. So package wakeup tries pending pods again when a
// report changes. A VMI that asks for something else than before wakes its own pods, which PreFilter may have refused.
//
// # Permissions
//
// The plugin needs list and watch on nodecpus.corepin.dev and virtualmachineinstances.kubevirt.io, cluster-wide, besides
// the stock roles system:kube-scheduler and system:volume-scheduler and the leader election's Lease. It writes events, and
// condition Seen of reports (package heard), for which it needs patch on nodecpus/status. Pods, nodes and volumes are read through kube-scheduler's own watches.
package dedicatedcpu
