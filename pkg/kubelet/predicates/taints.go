// SPDX-License-Identifier: Apache-2.0

//go:build !kubelet134

package predicates

import (
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
)

// untolerated reports whether the node has a taint that keeps the pod away, of those that matter.
func untolerated(node *corev1.Node, pod *corev1.Pod, matters func(*corev1.Taint) bool) bool {
	_, found := corev1helpers.FindMatchingUntoleratedTaint(logr.Discard(), node.Spec.Taints, pod.Spec.Tolerations, matters, false)
	return found
}
