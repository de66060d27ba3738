// SPDX-License-Identifier: Apache-2.0

// Package status answers whether corepin is all right in a cluster. It looks at who leads, which versions run, which agents
// are heard from, and which nodes are predicted exactly. It looks for VMs that wait, or that run otherwise than they asked.
//
// The answer is a list of lines, each about one subject. A line is a problem if somebody has to do something. It then
// names the command that says more. A note is worth knowing, and nothing is wrong.
//
// Everything is a pure function of objects and of the time at which they were read. Times are printed as moments and not
// as ages, so that a dump of a cluster gives the same lines as the cluster.
//
// # What counts as a prediction
//
// The scheduler's metric corepin_scheduler_predictions_total counts every prediction since the scheduler started. Here only
// the pods that are still there count. A VM that has its CPUs was predicted right. A pod that its kubelet refused when it
// admitted it was predicted wrong, or was bound by count to a node that could not be predicted.
package status
