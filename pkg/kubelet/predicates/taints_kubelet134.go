// SPDX-License-Identifier: Apache-2.0

//go:build kubelet134

package predicates

import (
	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
)

// untolerated is the same with the library of 1.34. Only test/conformance/kubelet134 is built with it.
func untolerated(node *corev1.Node, pod *corev1.Pod, matters func(*corev1.Taint) bool) bool {
	_, found := corev1helpers.FindMatchingUntoleratedTaint(node.Spec.Taints, pod.Spec.Tolerations, matters)
	return found
}
