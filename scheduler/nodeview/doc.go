// Package nodeview is the scheduler's view of a node's CPUs: the node's report laid together with the
// pods that kube-scheduler knows to be there, which gives what the kubelet will decide about one pod
// more.
//
// # The rule
//
// A prediction is a pure function of three things: the report, the pods in the NodeInfo that
// kube-scheduler passes to Filter, and the pod. Call a pod granted if the report has exclusive CPUs for
// all of its containers that ask for some. Then
//
//   - the CPUs that can be granted are those of the report's shared pool, and those of granted pods that
//     are gone from the NodeInfo: for the kubelet too a pod's CPUs are free once the pod is gone, though
//     its state file may name them a little longer;
//   - pods in the NodeInfo that ask for exclusive CPUs and are not granted are in flight: the kubelet
//     will admit them, or is just doing so. They are admitted first, by admission.AdmitAfter, in every order;
//   - while there are both pods in flight and granted pods that are gone, the node is waited for: which CPUs
//     the former got depends on whether the latter were still there. The next report tells;
//   - a pod in a terminal phase holds nothing.
//
// So there is no ledger that could get out of step. A scheduler that restarts, a victim that preemption
// takes out of a copy of the NodeInfo, a nominated pod that is put into one, a pod that another scheduler
// bound: each is only another set of pods.
//
// # What only memory can tell
//
// A pod may be bound, admitted and deleted before any report has it. The CPUs of a pod in flight beside it depend
// on it, and nothing that can be read tells any more that it was there. So a View remembers for each node which
// pods were in flight, and when one of them goes unreported, the others have to be reported before the node is
// judged again (node.unsettle). A view that begins, in a scheduler that was restarted, does not know what it
// missed, and waits likewise for the reports of pods that do not run yet, or have not for long. TestNoBoundPodIsEverRefused holds all of
// it against late, repeated and skipped reports, restarts, and kubelets that hear of pods in any order. That is
// also why there are two questions: Predict believes that the NodeInfo is true, and remembers; Simulate, for the copies that
// preemption and nominated pods make, does neither.
//
// # Predictions and what came of them
//
// When a report shows pods that were expected, View.Set compares: was there an order in which the kubelet, by
// package admission, would have granted just that? (reality.go)
//
// # Limits
//
// One thing the rule cannot see: a pod that another scheduler bound, and that the kubelet admitted and
// the agent reported before this scheduler's own pod watch has shown it, looks like one that is gone. That
// takes two schedulers on one node and lasts as long as one watch is behind the other.
//
// # The view
//
// A View holds the reports, decoded when they arrive and not kept as objects; nodes that are the same machine share
// its Topology. It remembers predictions by demand and by the generation of the NodeInfo (memory.go), and takes
// them back when the report changes: a scheduling cycle asks about each node twice (Filter and Score), pods come in few
// sizes, and most nodes do not change between cycles. What a pod asks for is read from its object once. Reports may come
// late, twice, or for nodes that do not exist; each replaces the one before. A
// report that is of a newer version, cannot be read or is not exact is kept as that, with the reason: it is
// never as good as no report, and no report is never as good as a free node. A report names its Node by UID:
// one of an earlier Node of that name, which may have been another machine, is no report.
//
// Run watches the reports. The CRD may be missing, then or later: the view says so once, tries on, and
// blocks nobody. The watch is our own, not one that kube-scheduler would start for a registered event,
// since kube-scheduler waits for those before it schedules anything at all (see package dedicatedcpu).
package nodeview
