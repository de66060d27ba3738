// SPDX-License-Identifier: Apache-2.0

// Package kubelet136 holds pkg/kubelet/admission against the kubelet of go.mod's Kubernetes; the test itself is in
// difftest. ../kubelet137 is the same for the next kubelet.
package kubelet136
