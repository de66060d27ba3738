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
// # Migrations that make room
//
// Fit looks for the fewest live migrations after which a VM fits, and Win for those that win room for the most further VMs of a
// size. A migration is possible if the other node takes the VM as the migrations before leave it. The VM has its CPUs on the first
// node until it has left that. So each state between two migrations is one that the kubelets come to, and none of them moves
// the CPUs of a VM that stays. Only nodes that are predicted exactly take part.
//
// Fit tries one migration, then two, and so on. It goes back from the VM: which pods have to leave a node for it, where does
// each of them go, and which pods have to leave there first? With a VM gone, a node is taken to have room for at least what it
// had room for before. Then no plan of one or two migrations is missed. Among longer plans it misses those in which a
// VM moves whose place nobody needs, or moves twice.
//
// Win makes the migration that wins the most by itself, that of the smallest VM among equal ones. Where none wins anything, it
// makes the first two that are found to win something together. So it is not the best plan as a whole.
//
// Both end after a number of placements that were tried, and then say so. Half of what is left of it goes to each number
// of migrations, so that short plans are looked for longest. The same cluster gives the same plan.
//
// # Cost
//
// VMs that ask alike are a class. For each class every node is asked once, and asked again only after it has changed. So a VM
// costs a verdict for each class, and a comparison for each node.
package simulation
