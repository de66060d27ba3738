// SPDX-License-Identifier: Apache-2.0

// Package adapter makes a difftest.Kubelet of the packages of the kubelets 1.34 to 1.36. These are
// the topology manager, with the device, CPU and memory manager as its hint providers, and the predicates.
//
// The importing module decides which version it is. What differs is a Version, and for
// kubelet 1.34, whose calls take no logger, what the build tag kubelet134 puts in the place of calls.go.
package adapter
