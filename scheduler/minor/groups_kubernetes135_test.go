// SPDX-License-Identifier: Apache-2.0

//go:build kubernetes135

package minor

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestGrouped(t *testing.T) {
	member := &corev1.Pod{Spec: corev1.PodSpec{WorkloadRef: &corev1.WorkloadReference{Name: "training", PodGroup: "workers"}}}
	if !Grouped(member) || Grouped(&corev1.Pod{}) {
		t.Errorf("a pod of a group is grouped: %t; want true. A pod of none is: %t; want false", Grouped(member), Grouped(&corev1.Pod{}))
	}
	if Trial(nil) {
		t.Error("a cycle is a trial; want none, since 1.35 has no cycles for groups")
	}
}
