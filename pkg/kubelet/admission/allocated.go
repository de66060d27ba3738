// SPDX-License-Identifier: Apache-2.0

//go:build !kubelet134

package admission

import corev1 "k8s.io/api/core/v1"

// podAllocated is what is allocated to a pod as a whole, or nil where its status does not say.
func podAllocated(pod *corev1.Pod) corev1.ResourceList { return pod.Status.AllocatedResources }
