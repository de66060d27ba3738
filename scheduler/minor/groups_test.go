// SPDX-License-Identifier: Apache-2.0

//go:build !kubernetes135

package minor

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

func TestGrouped(t *testing.T) {
	name := "workers"
	member := &corev1.Pod{Spec: corev1.PodSpec{SchedulingGroup: &corev1.PodSchedulingGroup{PodGroupName: &name}}}
	if !Grouped(member) || Grouped(&corev1.Pod{}) {
		t.Errorf("a pod of group %s is grouped: %t; want true. A pod of none is: %t; want false", name, Grouped(member), Grouped(&corev1.Pod{}))
	}
}

// cycle is a scheduling cycle, of a group of pods or of one pod.
type cycle struct {
	fwk.CycleState
	ofGroup bool
}

func (c cycle) IsPodGroupSchedulingCycle() bool { return c.ofGroup }

func TestTrial(t *testing.T) {
	for _, ofGroup := range []bool{true, false} {
		if got := Trial(cycle{ofGroup: ofGroup}); got != ofGroup {
			t.Errorf("a cycle of a group (%t) is a trial: %t", ofGroup, got)
		}
	}
}
