// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/scheduler/config"
)

// While nothing is known a VM is kept out of the queue, and let in when the lists have come. Other pods do not wait.
func TestPreEnqueue(t *testing.T) {
	b, vm, plain := newFixture(config.DedicatedCPUArgs{}), launcherPod("vm", "2"), guaranteedPod("plain", "2")
	for _, pod := range []*corev1.Pod{vm, plain} {
		if err := b.podLister.Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	if status := b.PreEnqueue(t.Context(), vm); status.Code() != fwk.Pending || status.Message() != listing {
		t.Errorf("a VM at the start: %s %q", status.Code(), status.Message())
	}
	if status := b.PreEnqueue(t.Context(), plain); !status.IsSuccess() {
		t.Errorf("another pod at the start: %q", status.Message())
	}
	b.wakeAll()
	b.expectWoken(t, "the lists have come", "vms/vm")
	b.listed(t)
	if status := b.PreEnqueue(t.Context(), vm); !status.IsSuccess() {
		t.Errorf("a VM when the reports are listed: %q", status.Message())
	}
}
