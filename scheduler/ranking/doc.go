// SPDX-License-Identifier: Apache-2.0

// Package ranking knows the best nodes for each kind of pod, chosen from all nodes of the cluster.
//
// kube-scheduler stops looking for nodes when it has found enough that take the pod: 500 of 5,000
// (numFeasibleNodesToFind in pkg/scheduler/schedule_one.go, v1.36.3). It scores those, and the best of them gets the pod. This
// package keeps a rating of each node for each kind of pod. Only nodes that have changed are rated anew. So the best nodes of
// all are found in the time of one pass over an array, and kube-scheduler needs to filter and score no other nodes.
//
// # What is remembered
//
// A node has a version. The version changes with the generation of its NodeInfo, and when Changed says that the node may have
// changed. A kind has for each node its rating, and the version that was rated. Nodes that do not take the pod have a rating too, so
// they are not asked again. Where an answer holds until some time only, the version changes then.
//
// To read the generations of thousands of nodes costs more than all the rest, since each lies elsewhere in memory. So a cycle reads those
// of the nodes that it returns, and those of a tenth of all nodes. A node that has changed without a word is found within ten cycles.
//
// Many nodes of a cluster are alike: empty ones, and those that have the same free CPUs. Question.State says which, and a kind asks one
// of them only.
//
// Nodes are numbered. A number belongs to one name for as long as the node is listed. Two arrays by number are 12 bytes for each node
// and kind. Kinds that were not asked for the longest are dropped when all of them take more than maxBytes.
//
// # What a cycle costs
//
// A cycle judges Question.Looks nodes at most, and takes the rest as it is known. Nodes of a state that was judged cost nothing. It begins
// where the last cycle of its kind stopped. So a kind that was never seen before costs no more than kube-scheduler's own
// sample, and after a few cycles its ratings are of all nodes. If that finds no node, all others are judged.
//
// With hundreds of kinds, nearly every node has changed when a kind comes again. What can be saved then are nodes with pods in
// flight, which take the longest to judge: Question.Passing. They are judged when their kubelet has admitted these pods.
//
// # Limits
//
// A rating is about exclusive CPUs. Whether the pod may go to a node for everything else is asked by Question.Accept, for nodes that
// would be among the best. What is found is a proposal: kube-scheduler filters and scores it. None found is not the last word either:
// then kube-scheduler looks at all nodes.
package ranking
