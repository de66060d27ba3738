// Package cli is kubectl-corepin's commands, which answer before anything is created what else only a
// cluster could tell, and only afterwards:
//
//	check   would this virtual machine be refused, by which rules, and what is to be changed (pkg/vmi)
//	fit     would the kubelets admit these pods, which CPUs would each container get, and if none, why
//	explain why does no node take this pod or virtual machine, and what would help (pkg/explain)
//	nodes   which CPUs a node has, and who holds them
//	pins    where the threads of virtual machines are pinned, or would be on given CPUs
//
// The commands read files and write text for people or, with -o json, an object a line for scripts. They
// know nothing of their own about CPUs or virtual machines: the rules are those of the packages that the
// scheduler uses too, so that the answer here is the one there.
//
// # Promises
//
// Input is YAML or JSON, in any number of documents and lists, from files, folders or standard input.
// Nothing that was given is passed over in silence: what cannot be used is told in its place, with its
// file and line, and the rest is answered; only explain answers nothing then, since who is missing may be
// a neighbour. Answers come in the order of the input, and the same input gives the same bytes. The exit
// code is 0 where all is well, 1 where something is refused, 2 where the command or its input is at fault;
// only to check, a document that cannot be read is a refused one.
//
// # How it is built
//
// Everything that touches the world (streams, files, the API server) is in Host and is passed in by the
// program, pkg/kubectl-corepin. Below the commands everything is a function of values: cut.go, plain.go and
// object.go make objects of bytes, situation.go and report.go make pods and nodes of objects, admission.go
// decides (and scene.go looks as corepin-scheduler does, for package explain to decide), and the *_text.go
// files find the words.
package cli
