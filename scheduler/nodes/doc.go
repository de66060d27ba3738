// SPDX-License-Identifier: Apache-2.0

// Package nodes is the scheduler's view of all nodes: their reports, what may have happened on them unseen, and what was
// predicted for them.
//
// # Where a prediction comes from
//
// A prediction is a verdict (package verdict) about four things: the report, the pods in the NodeInfo that kube-scheduler
// passes to Filter, the uncertainty about pods that no report has shown, and the pod. There is no ledger of CPUs. Preemption
// takes a victim out of a copy of the NodeInfo, a nominated pod is added to one, another scheduler binds a pod: each is only
// another set of pods.
//
// The uncertainty is the one thing that is remembered (uncertainty.go). A pod may be bound, admitted and deleted before any
// report has it, and the CPUs of a pod in flight beside it depend on it. Nothing that can be read later shows that. So after a
// restart the node is asked again only when its report has the pods that do not run yet, or have not run for long.
// TestNoBoundPodIsEverRefused checks all of it against late, repeated and skipped reports, restarts, and kubelets that hear of
// pods in any order.
//
// That is also why a Query has two questions. Predict takes the NodeInfo for true, and remembers. Simulate is for the copies
// that preemption and nominated pods make. It remembers nothing.
//
// # What is waited for, and for how long
//
// A report is waited for on account of a pod only if a kubelet has heard of the pod, and for five minutes at most
// (answerWithin). A pod that is assumed, and waits for its volumes or its gang, is not waited for. Its place is kept.
//
// A node without a report that can be used is starting for five minutes, and nothing is estimated (starting.go). They begin
// when the Node is made, when its report is deleted or spoiled, or when its Node is first seen to contradict its report.
// Times are this process's, except for the age of a Node.
//
// # What is judged twice
//
// A pod that is assumed may wait for minutes. If others have left its node meanwhile, or another scheduler has bound a pod there,
// its place may not be the one that was judged. Binding judges it once more, beside the pods that are bound by then. TestALifeAmongNeighbours
// shows that hardly any pod is refused then, and none again and again.
//
// # What is cached
//
// A scheduling cycle asks about each node twice, in Filter and in Score. Pods come in few sizes, and most nodes do not change
// between two cycles. So predictions are cached by kind of demand and by the generation of the NodeInfo (cache.go). They are
// dropped when the report changes or a pod leaves. The cache is bounded in bytes, whatever waits and however many nodes there
// are.
//
// # Reports
//
// Reports are decoded when they arrive and not kept as objects. They may come late, twice, or for nodes that do not exist. Each
// replaces the one before. A report that cannot be used is kept with its reason. It is never as good as no report, and no report
// is never as good as a free node.
//
// Run watches the reports. The CRD may be missing, then or later: the view logs that once, tries again, and blocks nobody. The
// watch is not one that kube-scheduler would start for a registered event. kube-scheduler waits for those before it schedules
// anything at all (see package dedicatedcpu).
//
// # Limits
//
// A pod that another scheduler bound may be admitted and reported before this scheduler's own watch shows it. Then it looks
// like one that is gone. That takes two schedulers on one node, and lasts for as long as one watch is behind the other.
package nodes
