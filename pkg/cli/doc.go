// SPDX-License-Identifier: Apache-2.0

// Package cli is the commands of kubectl-corepin. They answer, without creating anything, what a cluster would only
// show afterwards. Only rebalance --apply changes something: it creates live migrations.
//
//	status    is corepin all right in the cluster, and if not, which command says more (pkg/status)
//	check     would this virtual machine be refused, by which rules, and what to change (pkg/vmi)
//	fit       would the kubelets admit these pods, which CPUs would each container get, and if none, why
//	explain   why no node takes this pod or virtual machine, and what would help (pkg/explain)
//	capacity  how many more virtual machines of a size fit, by the kubelets' decisions
//	what-if   what would become of VMs if nodes or VMs came, went or changed (pkg/simulation)
//	rebalance which live migrations make room for a VM, or win the most room (pkg/simulation)
//	nodes     which CPUs a node has, and who holds them
//	report    the cluster as one HTML page (pkg/page)
//	pins      where the threads of virtual machines are pinned, or would be on given CPUs
//	dump      the cluster as a file, from which all commands answer as from the cluster (pkg/dump)
//	support   all that a bug report needs, as an archive
//	version   which commit of corepin and which Kubernetes this program was built from
//
// The commands read files and write text for people or, with -o json, an object a line for scripts. They have no rules
// of their own about CPUs or virtual machines. The rules are in the packages that the scheduler uses too, so
// both give the same answer.
//
// # Promises
//
// Input is YAML or JSON, in any number of documents and lists, from files, folders or standard input (pkg/objects).
// Nothing in the input is skipped silently. What cannot be used is reported in its place, with file and line, and the
// rest is answered. Only explain answers nothing then, because a missing pod could be a neighbour.
//
// Answers come in the order of the input, and the same input gives the same bytes. Names and messages of objects
// are printed so that they cannot change the terminal or forge a line of an answer.
//
// The exit code is 0 where all is well, 1 where something is refused, 2 where the command line or the input is wrong.
// For check, a document that cannot be read is a refused one.
//
// # How it is built
//
// Everything outside (streams, files, the API server, kubectl's flags) is in Host, which the program
// pkg/kubectl-corepin fills in. Below the commands everything is a function of values. snapshot.go, pod.go and
// report.go make pods and nodes of objects. machine.go makes pods of virtual machines that do not exist yet
// (pkg/launcherpod). town.go makes a cluster to simulate, and migrants.go says which of its VMs may move. apply.go makes
// migrations one after the other, and apply_look.go looks at the cluster after each. admission.go tries pods on nodes, and
// view.go does so as corepin-scheduler does. The *_text.go files write the answers, and the page*.go files the page of report.
// terminal.go is what a terminal can show, and nodes_live.go what nodes --watch draws.
package cli
