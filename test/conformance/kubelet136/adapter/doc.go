// SPDX-License-Identifier: Apache-2.0

// Package adapter makes a difftest.Kubelet of the packages of the kubelets 1.35 and 1.36, which have the same calls. These are
// the topology manager, with the device, CPU and memory manager as its hint providers, and the predicates.
//
// The importing module decides which version it is. What differs is a Version.
package adapter
