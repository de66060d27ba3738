// Package dedicatedcpu is the scheduler plugin DedicatedCPU: it lets a pod that asks for exclusive CPUs go
// only to a node whose kubelet will admit it.
//
// # The story of a pod
//
// PreFilter reads what the pod asks for (demand.go). A pod that asks for no exclusive CPUs and is not the
// launcher pod of a dedicated VM is none of our business: Skip, and the plugin costs it nothing more than
// that and one PreScore. A dedicated VM's launcher pod that the kubelet would leave in the shared pool, one
// that is not Guaranteed or asks for 1500m, is refused here, with what is wrong and how to mend it.
//
// Filter asks package nodeview what the node's kubelet will decide, and turns a refusal into one of a few
// constant reasons (reasons.go), Unschedulable where an eviction could help and
// UnschedulableAndUnresolvable where it could not, so that preemption evicts nobody in vain. A dedicated
// VM needs, besides, the label cpumanager=true (or kubevirt.io/cpumanager=true) on the node, as in
// KubeVirt, and a report that is exact, unless the argument nodesWithoutExactReport says otherwise.
//
// Score prefers, among the nodes that can take a VM, those that the scoring strategy prefers
// (strategy.go). A node that is only estimated scores 0, an exact one at least 60; at the plugin's shipped
// weight of 26 that is more than all stock plugins can add up to (their weights sum to 15), so an estimated
// node is taken only where no exact one can be. NodeResourcesFit does the counting of
// millicores and memory, sidecars included, as always.
//
// PostBind counts what the pod was bound on. There is no Reserve: the plugin keeps no ledger, the bound
// or assumed pod stands in the NodeInfo from now on, and nodeview counts it as in flight until the report
// has it.
//
// Pods that are not launcher pods but ask for exclusive CPUs (Guaranteed, whole CPUs) are held to the
// kubelet's decision too where it can be predicted; where it cannot, or where there is no CPU
// manager, they are scheduled as kube-scheduler would, since they do not insist. They are not scored.
//
// # Waking up
//
// A pod that no node could take waits in the scheduling queue until an event makes it worth another try.
// Pods that go and nodes that come or are labelled are kube-scheduler's own events, with hints
// (events.go). A changed report is not: registering NodeCPU as an event would make kube-scheduler start a
// watch of its own and, before it schedules anything at all, wait for it to be filled, which without the
// CRD is for ever (cmd/kube-scheduler/app/server.go and pkg/scheduler/eventhandlers.go, v1.36.3); and it
// would keep a second copy of every report, as that watch's cache is closed to plugins. So the
// plugin remembers the pods that came as far as Filter and, when a report changes, asks nodeview for each
// different demand among them whether that node could now take it, and activates the pods of those
// demands (wake.go). Activation skips the queue's hints and backoff, which is right for it: the answer
// was computed, not guessed. A report that changes nothing for a waiting pod wakes nobody. Pods that a node
// could not answer for, because others were in flight to it, are tried again when its next report comes,
// even if that leaves no room: only then can preemption look at the node.
//
// # Permissions
//
// Beside the stock roles system:kube-scheduler and system:volume-scheduler (and the leader election's
// Lease) the plugin needs list and watch on nodecpus.corepin.dev, cluster-wide. It writes nothing. Pods and
// nodes are read through kube-scheduler's own watches.
package dedicatedcpu
