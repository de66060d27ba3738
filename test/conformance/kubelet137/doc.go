// Package kubelet137 holds pkg/kubeletcpu against the kubelet 1.37; the test itself is in
// ../kubeletcpu/difftest.
//
// It is a module of its own, since a module can hold one version of Kubernetes: go test ./... of the main
// module does not see it, make conformance runs it.
package kubelet137
