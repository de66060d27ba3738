// SPDX-License-Identifier: Apache-2.0

// Package verdict answers one question: would this node take this pod, and if not, why?
//
// The scheduler's Filter, its explanations, its decisions about waking pods, and kubectl corepin all ask
// this package. So they cannot give different answers.
//
// # The order of questions
//
// Of asks in this order and stops at the first obstacle:
//
//  1. Label: does the node have the label cpumanager=true, if the pod needs it?
//  2. Amounts: are enough millicores left by kube-scheduler's count?
//  3. Report: is there a report (NodeCPU) of this node, and can it be read?
//  4. Exact: can this kubelet's decision about this pod be predicted?
//  5. In flight: do pods that are bound and not yet reported leave the answer open? Is the place kept for others?
//  6. Kubelet: would its managers admit the pod?
//  7. Guest: do the CPUs that the kubelet would grant satisfy the VM?
//  8. Restart: could the kubelet be started again with the VM there, if the demand asks for that?
//
// Where questions 3 and 4 have the answer no, the count of question 2 decides alone if the demand allows
// estimates. The verdict then says that it is estimated.
//
// # The rule for pods on the node
//
// A pod is granted if the report has exclusive CPUs for each of its containers that asks for some (Covers).
// New applies the pods to the report:
//
//   - The free CPUs are those of the report's shared pool, and those of granted pods that are no longer on
//     the node. For the kubelet, too, a pod's CPUs are free once the pod has gone. Its state file may name
//     them a little longer.
//   - A pod on the node that asks for exclusive CPUs and is not granted is in flight. The kubelet will
//     admit it, or is doing so. The new pod must fit in every order of admission.
//   - While pods are in flight and granted pods have gone, the new pod must fit in every order in which the kubelet may have
//     admitted the former and freed what the latter had. A pod in flight comes after those that were seen to have gone before it
//     was bound (open.go). Where orders differ, or are too many, the next report shows what has happened.
//   - A pod that no kubelet has heard of is in flight too: one that is assumed, or nominated. No report can show it, so none
//     is waited for. Its place is kept: the new pod must fit in every order, and is refused where it does not. So it is with
//     a pod that reports have had the time to show (package nodes has the times).
//   - The place that pods leave when they end is kept for the nominated pods: the new pod must leave them a place there.
//   - A pod in a terminal phase holds nothing.
//
// A verdict is a pure function of a Node and a Demand. To ask "what if", change a copy and ask again.
// Package explain does this for its hints.
package verdict
