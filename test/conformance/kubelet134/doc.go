// SPDX-License-Identifier: Apache-2.0

// Package kubelet134 holds pkg/kubelet/admission against the kubelet 1.34; the test itself is in
// ../kubelet136/difftest.
//
// It is a module of its own, since a module can hold one version of Kubernetes: go test ./... of the main
// module does not see it, and make conformance does not run it, since it takes minutes to compile. hack/conformance.sh STEPS SEED 134
// does. It is built with the tag kubelet134, which puts the calls of 1.34 in the place of later ones.
package kubelet134
