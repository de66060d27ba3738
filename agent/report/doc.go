// SPDX-License-Identifier: Apache-2.0

// Package report publishes what the agent knows of its node's CPUs: the NodeCPU object that has the node's name.
//
// A report is made in three steps. Resolve answers each question about the facts once (resolve.go): which
// configuration the kubelet runs with, which CPUs it reserves. Build writes the answers into a status (build.go). The
// conditions say what is not known, and since when (conditions.go, restart.go). The Publisher writes the result to the
// API server (publisher.go).
//
// A report is built from the last good reading of each source, over the report that is already there. What could not
// be read stays as it was. So a read error never makes a report say less, not even over a restart of the agent: the
// Publisher first reads its last report back. Only the report of an earlier Node of the same name is not built upon,
// since the new Node may be another machine. Conditions:
//
//   - CPUManagerRunning: True (reason PolicyStatic) or False (PolicyNone) by the kubelet's own state file. While that
//     file cannot be read it keeps its status, with reason StateUnreadable; Unknown where it was never read.
//   - Exact: True where the prediction of the kubelet's decisions holds for this node. Otherwise its message lists
//     every reason against it. Reason PredictableByFile marks a prediction that rests on the kubelet's configuration
//     file alone.
//   - SourcesComplete: True where every source is read. Otherwise its message says of each missing source why, since
//     when, and what follows.
//   - DevicesKnown: True where the report has every resource of a device plugin that has a device with a NUMA node. Of each
//     resource it says how many devices are on which NUMA nodes, how many of them are healthy and free, and what each
//     container holds: never which. What is not known of one resource makes only pods that ask for it inexact, and is
//     said beside it. That happens for some seconds after each change of a device's health, since the kubelet tells
//     its socket, its checkpoint and the Node of it one after the other. For unhealthy devices, which the kubelet does
//     not list, the NUMA nodes are known if they were healthy before, or if all devices of the resource are on the
//     same ones.
//   - RestartSafe: False where the kubelet, with the configuration of its next start, would not start or would fail
//     running pods. An event is written when a change of the configuration causes that. Unknown, with the reason, where
//     that is not certain. A kubelet that starts reads the pods' node selectors and required affinities and the Node's labels
//     and taints again, so a label that was taken away counts. What a kubelet checks when it starts, and what of it is
//     checked here, is listed in start.go.
//   - Labelled, Drifted and Exclusive: as packages label, pinning and exclusive say.
//
// A Publisher writes only when the meaning of the report has changed: once for each burst of changes, since a kubelet
// writes its state twice for each admission, and not at all while nothing happens. Every write raises
// status.generation by one. A write carries the resource version that the report was built over, so that a change by
// somebody else in between is not lost unseen. Such a change is then corrected, since the report is the agent's alone:
// at once the first time, then ever more slowly, for the other writer may be a second agent.
//
// Free huge pages are counted too, and change without any pod. Their number is the lowest of half a minute, so that one
// that jumps up and down is written once (package hostcpu).
//
// One thing is not overwritten: a report with fields that this agent does not know. A newer agent wrote it, in a rollout
// or before a rollback, and an older one would take those fields away. The Publisher then writes nothing and looks again
// until the fields are gone. It says so on the Node (event ReportRefused), in the log and in the metric. To go back to an
// older agent for good, delete the NodeCPU object. A report of a newer format (status.format) whose fields are all known
// is taken over: nothing in it would be lost.
package report
