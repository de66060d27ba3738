// SPDX-License-Identifier: Apache-2.0

// Package kubelet138 holds pkg/kubelet/admission against the kubelet 1.38, as of v1.38.0-beta.0; the test itself is in
// ../kubelet136/difftest, and the calls of the kubelet's packages are those of ../kubelet137/adapter.
//
// It is a module of its own, since a module can hold one version of Kubernetes. make conformance does not run it: this
// Kubernetes needs Go 1.27. hack/conformance.sh STEPS SEED 138 does, with that Go from the module proxy.
package kubelet138
