// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/launcher"
)

// SignPod is called to find pods that every node answers alike. kube-scheduler schedules such pods in a batch.
func (pl *DedicatedCPU) SignPod(_ context.Context, pod *corev1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	d, vm := pl.vmDemand(pod)
	if d == nil {
		return nil, nil
	}
	if d.Dedicated && launcher.MisfitOf(pod, vm.Problems).What != "" {
		return nil, fwk.NewStatus(fwk.Unschedulable, "the VM's launcher pod is refused on every node")
	}
	return []fwk.SignFragment{{Key: "corepin.dev/" + Name, Value: d.Key()}}, nil
}
