// SPDX-License-Identifier: Apache-2.0

//go:build kubernetes135

package minor

import (
	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Grouped reports whether a pod belongs to a group that is scheduled as one: field workloadRef, which only Kubernetes 1.35 has.
func Grouped(pod *corev1.Pod) bool { return pod.Spec.WorkloadRef != nil }

// Trial is false: kube-scheduler 1.35 places the pods of a group one by one, and they wait for each other before they are
// bound (pkg/scheduler/framework/plugins/gangscheduling/gangscheduling.go, v1.35.4).
func Trial(fwk.CycleState) bool { return false }
