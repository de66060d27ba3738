// SPDX-License-Identifier: Apache-2.0

// Package kubelet135 holds pkg/kubelet/admission against the kubelet 1.35; the test itself is in
// ../kubelet136/difftest.
//
// It is a module of its own, since a module can hold one version of Kubernetes: go test ./... of the main
// module does not see it, make conformance runs it.
package kubelet135
