// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	fwk "k8s.io/kube-scheduler/framework"
)

// amountsAsked is what a pod requests, as kube-scheduler counts it.
type amountsAsked struct {
	milliCPU, memory, ephemeral int64
	others                      map[corev1.ResourceName]int64
}

func amountsOf(pod *corev1.Pod) amountsAsked {
	asked := amountsAsked{others: map[corev1.ResourceName]int64{}}
	for name, quantity := range resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}) {
		switch name {
		case corev1.ResourceCPU:
			asked.milliCPU = quantity.MilliValue()
		case corev1.ResourceMemory:
			asked.memory = quantity.Value()
		case corev1.ResourceEphemeralStorage:
			asked.ephemeral = quantity.Value()
		default:
			asked.others[name] = quantity.Value()
		}
	}
	return asked
}

// fit reports whether a node has that much left. It is the count of plugin NodeResourcesFit (fitsRequest in
// pkg/scheduler/framework/plugins/noderesources/fit.go, v1.36.3), without what that plugin may be told to ignore.
func (a *amountsAsked) fit(info fwk.NodeInfo) bool {
	all := info.GetAllocatable()
	used := info.GetRequested()
	switch {
	case len(info.GetPods()) >= all.GetAllowedPodNumber(),
		a.milliCPU > all.GetMilliCPU()-used.GetMilliCPU(),
		a.memory > all.GetMemory()-used.GetMemory(),
		a.ephemeral > all.GetEphemeralStorage()-used.GetEphemeralStorage():
		return false
	}
	for name, amount := range a.others {
		if amount > all.GetScalarResources()[name]-used.GetScalarResources()[name] {
			return false
		}
	}
	return true
}
