// SPDX-License-Identifier: Apache-2.0

// kube-scheduler 1.35 has no cycle of a pod group: see package minor.
//go:build !kubernetes135

package dedicatedcpu

import (
	"fmt"
	"testing"

	"k8s.io/kubernetes/pkg/scheduler/framework"

	"corepin.dev/corepin/scheduler/config"
)

// The cycle of a pod group puts each member that found a place into the snapshot, and binds none before all have one.
func TestAGangOnOneNode(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", nil)
	info := b.node(t, "n1")
	for i := range 8 {
		pod := launcherPod(fmt.Sprint("g", i), "2")
		state := framework.NewCycleState()
		state.SetPodGroupSchedulingCycle(framework.NewCycleState())
		if _, status := b.PreFilter(t.Context(), state, pod, nil); !status.IsSuccess() {
			t.Fatal(status)
		}
		if status := b.Filter(t.Context(), state, pod, info); !status.IsSuccess() {
			t.Errorf("member %d of 8 with 2 CPUs each: %s %q", i, status.Code(), status.Message())
		}
		pod.Spec.NodeName = "n1"
		info.AddPod(pod)
	}
}
