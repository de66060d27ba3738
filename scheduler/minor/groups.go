// SPDX-License-Identifier: Apache-2.0

//go:build !kubernetes135

package minor

import (
	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Grouped reports whether a pod belongs to a group that is scheduled as one: field schedulingGroup, since Kubernetes 1.36.
func Grouped(pod *corev1.Pod) bool { return pod.Spec.SchedulingGroup != nil }

// Trial reports whether a scheduling cycle only tries where the pods of a group could go. The NodeInfos then have pods that
// may never be bound.
func Trial(state fwk.CycleState) bool { return state.IsPodGroupSchedulingCycle() }
