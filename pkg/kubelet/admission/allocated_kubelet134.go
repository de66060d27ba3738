// SPDX-License-Identifier: Apache-2.0

//go:build kubelet134

package admission

import corev1 "k8s.io/api/core/v1"

// podAllocated is nil: the API of 1.34 has no such field. Only test/conformance/kubelet134 is built with this API.
func podAllocated(*corev1.Pod) corev1.ResourceList { return nil }
