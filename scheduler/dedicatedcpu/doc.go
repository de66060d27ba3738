// Package dedicatedcpu is the scheduler plugin DedicatedCPU: it lets a pod that asks for exclusive CPUs go
// only to a node whose kubelet will admit it.
//
// # The story of a pod
//
// PreFilter reads what the pod asks for (demand.go). A pod that asks for no exclusive CPUs and is not the
// launcher pod of a dedicated VM is none of our business: Skip, and the plugin costs it nothing more than
// that and one PreScore. A dedicated VM's launcher pod that the kubelet would leave in the shared pool, one
// that is not Guaranteed or asks for 1500m, is refused here, with what is wrong and how to mend it. So is one
// whose VMI breaks a rule of pkg/vmi, with all that is broken (vm.go): the policy in manifests/admission refuses the
// same VMs earlier, but only those made after it came. The VMI is read by package vmiview; where there is none, the
// pod alone is judged. Targets of migrations are not held to rules, as their VMs run already.
//
// Filter asks package nodeview what the node's kubelet will decide, and turns a refusal into one of a few
// constant reasons (reasons.go), Unschedulable where an eviction could help and
// UnschedulableAndUnresolvable where it could not, so that preemption evicts nobody in vain. A dedicated
// VM needs, besides, the label cpumanager=true (or kubevirt.io/cpumanager=true) on the node, as in
// KubeVirt, unless the argument cpuManagerNodes is Preferred. A node whose kubelet cannot be predicted exactly is
// judged by counts, or refused: argument nodesWithoutExactReport (estimate.go). And the CPUs that
// the kubelet would grant, in whatever order it hears of the pods in flight, must do for the guest (vmfit.go): the
// threads of a guest core on one host core, a CPU for an isolated emulator and each pooled IO thread, no more NUMA
// nodes than the guest has huge pages. KubeVirt finds that out after the pod is bound, or not at all.
//
// Score prefers, among the nodes that can take a VM, those that the scoring strategy prefers
// (strategy.go). A node that is only estimated scores 0, an exact one at least 60; at the plugin's shipped
// weight of 26 that is more than all stock plugins can add up to (their weights sum to 15), so an estimated
// node is taken only where no exact one is among those that the cycle has found (in a large cluster kube-scheduler stops
// looking once it has found enough nodes). NodeResourcesFit does the counting of
// millicores and memory, sidecars included, as always.
//
// PostBind counts what the pod was bound on, and tells a VM that was bound on an estimate so, in an event. The
// plugin keeps no ledger: the bound or assumed pod stands in the NodeInfo from now on, and nodeview counts it as in
// flight until the report has it. Reserve only remembers that the pod was predicted, so that the prediction is
// compared with what the kubelet then does (reality.go): metric corepin_prediction_total, and for a
// mismatch a log entry with the scenario, which package kubeletcpu's differential tests take as it is.
//
// Preemption is kube-scheduler's own. It asks Filter about copies of the node without the victims, with a copy of the
// cycle's state, by which Filter knows (demand.go). Nodeview answers like for any other set of pods and remembers nothing,
// so the victims are those whose CPUs, cores and NUMA node make the
// place. Only where a victim is itself in flight nobody can tell what would be free without it, nor who could
// be spared: that node waits for its report. For a VM nobody is evicted from a node that is only estimated, where it could
// be in vain, nor while a node that may have room waits for its report (preempt.go).
//
// PostFilter tells a pod that found no node, where preemption found none either, what the nearest three nodes lack
// and what would help, in an event with numbers beside the constant reasons (explain.go). In the scheduling cycle
// it only ranks the nodes that were refused for CPUs and notes what is on the nearest; package explain finds what
// helps, and tries it, in a goroutine of its own (explainer.go), and the recorder writes when it can. A pod
// is told the same at most once in five minutes, and no more than three things in that time. Pods and VMs
// of other namespaces are counted there, and not named.
//
// Pods that are not launcher pods but ask for exclusive CPUs (Guaranteed, whole CPUs) are held to the
// kubelet's decision too where it can be predicted; where it cannot, or where there is no CPU
// manager, they are scheduled as kube-scheduler would, since they do not insist. They are not scored. The argument
// otherPods leaves them alone altogether.
//
// # Two schedulers
//
// Another scheduler that binds pods with exclusive CPUs, kube-scheduler itself for example, does not see
// what this one is about to do, nor this one what it is: two pods bound to one node within the tens of milliseconds
// that a watch takes may have been meant for the same CPUs, and the kubelet refuses the second. Pods that the other
// has bound some time ago are seen, and counted, like any. test/integration measures how often it
// happens under a rush: of 96 pods, half of them VMs, that two schedulers bound as fast as they could to three
// nodes until these were full, some 30 VMs went to a node in the same second as a pod of the other, and the kubelets
// refused none; in another run, of 180 pods, they refused one pod, not a VM. It cannot happen in one process:
// manifests/overlays/single-process serves the
// profile default-scheduler too. The profiles share what is known of nodes and VMs (knowledge.go): one watch, one copy
// of each report, and one prediction for pods that ask for the same, where their arguments are the same.
//
// # Waking up
//
// While the reports and VMs are first being listed, VMs are kept out of the scheduling queue (preenqueue.go): they
// wait quietly, ten seconds at most.
//
// A pod that no node could take waits in the scheduling queue until an event makes it worth another try.
// Pods that go and nodes that come, are labelled or let in whom they kept out are kube-scheduler's own events, with
// hints (events.go); the hint for a pod that has gone asks nodeview whether its node could now take the one that waits.
//
// A changed report is not an event: registering NodeCPU as one would make kube-scheduler start a
// watch of its own and, before it schedules anything at all, wait for it to be filled, which without the
// CRD is for ever (cmd/kube-scheduler/app/server.go and pkg/scheduler/eventhandlers.go, v1.36.3); and it
// would keep a second copy of every report, as that watch's cache is closed to plugins. So the
// plugin remembers the pods that came as far as Filter and, when a report changes, asks nodeview for each
// different demand among them how many such pods that node could now take, and activates so many of them, the most
// important and oldest first; others have their turn if these leave the room unused (wake.go). Activation skips the
// queue's hints and backoff, which is right for it: the answer was computed, not guessed. A report that changes
// nothing for a waiting pod wakes nobody. Pods that a node could not answer for, because others were in flight to it, are
// tried again when its next report comes, even if that leaves no room: only then can preemption look at the node. A VMI
// that is changed so as to ask for something else wakes its pods, which PreFilter may have refused.
//
// # Permissions
//
// Beside the stock roles system:kube-scheduler and system:volume-scheduler (and the leader election's
// Lease) the plugin needs list and watch on nodecpus.corepin.dev and virtualmachineinstances.kubevirt.io,
// cluster-wide. It writes nothing but events. Pods and nodes are read through kube-scheduler's own watches.
package dedicatedcpu
