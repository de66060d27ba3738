// SPDX-License-Identifier: Apache-2.0

// Package simulation places VMs one after the other on nodes that change with each, as corepin-scheduler would: what if a node
// is drained, added or taken away, or if more VMs come?
//
// A node's answer is the scheduler's: package verdict says whether it takes a VM, and package scoring which of the nodes that
// do is preferred. What the kubelet then grants is what the next VM finds taken. So the answer is exact for the order in
// which the VMs come, and for nodes that are predicted exactly. Another order may end otherwise.
//
// # What is not simulated
//
// The scores of kube-scheduler's own plugins are not: spreading, affinity that is only preferred, images. Neither are volumes,
// disruption budgets and preemption. Required node affinity, taints, host ports, memory and all other amounts are. Where several
// nodes are equal, the seed decides, as chance does in kube-scheduler.
//
// # Cost
//
// VMs that ask alike are a class. For each class every node is asked once, and asked again only after it has changed. So a VM
// costs a verdict for each class, and a comparison for each node.
package simulation
