// SPDX-License-Identifier: Apache-2.0

// Package adapter makes a difftest.Kubelet of the packages of the kubelets 1.37 and 1.38, whose calls are alike: the
// topology manager, with the device, CPU and memory manager as its hint providers, and the predicates.
//
// The importing module decides which version it is. ../../kubelet136/adapter is the same for the kubelets before.
package adapter
