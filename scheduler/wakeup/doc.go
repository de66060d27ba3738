// SPDX-License-Identifier: Apache-2.0

// Package wakeup decides which pending pods a changed CPU report makes worth another try.
//
// A pod that found no node waits in kube-scheduler's queue until an event makes it worth another try. A changed report
// is not an event of kube-scheduler (package dedicatedcpu says why). So the plugin keeps the pods that reached Filter
// here (pending.go) and activates some of them when a report changes (rounds.go). Activation skips the queue's
// backoff, so it has to be for a reason:
//
//   - A pod is not woken if the Node keeps it out: by labels, taints, memory or huge pages (reach.go).
//   - No more pods are woken than the node has room for, the most important and oldest first. If they do not use the
//     room, for example because another plugin refuses the node, the next pods follow in further rounds.
//   - A pod for which the node could not answer because of pods in flight is woken by the node's next report, even if
//     there is no room. Only then can preemption look at the node. All of them are woken at once: if only the oldest were,
//     others that could be bound would wait behind those that have to wait again.
//   - Where room is only estimated, a report that frees nothing wakes nobody else.
//
// What a node has room for is the Demand's to answer. Time comes from a clock, and all timers end with the context.
package wakeup
