// SPDX-License-Identifier: Apache-2.0

// Package dump is a cluster in a file: everything that the commands of kubectl-corepin read, and nothing else.
//
// The file has an object a line, as JSON. The first line is a Header: when the cluster was read, and who led. Then come the
// NodeCPU objects, the Nodes, the Pods, and KubeVirt's objects, in the API server's order.
//
// # What is left out
//
// A Pod is made anew from the fields that the commands need. So environment, commands, volumes, images and annotations that
// nobody reads cannot be in the file, whatever a later version of Kubernetes adds to a Pod. The same holds for VMIs, whose
// volumes may have passwords in them. Nodes and reports have no secrets. Their addresses, images and managed fields are left
// out. Secrets and ConfigMaps are never read.
//
// # Names
//
// Mask replaces the names of nodes, namespaces, pods and VMs: node-1, namespace-1, pod-1, vm-1. The same name always
// becomes the same word, in messages and labels too, so that answers from the file are still right. It does not touch other
// values of labels, such as zones.
package dump
