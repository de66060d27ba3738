// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// qosClass is the class that the API server has written into the status, or else the one that it would compute
// (pkg/apis/core/v1/helper/qos/qos.go, v1.36.3, with the gate PodLevelResources on, as by default).
//
// A spec.resources without any resource counts as none from 1.37 on, and as one that asks for nothing before. Where
// the class is not in the status, nobody knows which API server will write it. This is the older reading.
func qosClass(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	var requests, limits amounts
	limited := true
	r := pod.Spec.Resources
	if r != nil {
		requests.add(r.Requests)
		limited = limits.add(r.Limits)
	} else {
		for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range containers {
				requests.add(containers[i].Resources.Requests)
				limited = limits.add(containers[i].Resources.Limits) && limited
			}
		}
	}
	switch {
	case requests.isZero() && limits.isZero():
		return corev1.PodQOSBestEffort
	case limited && requests.equal(&limits):
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// amounts are sums of the two resources that decide the QoS class.
type amounts struct{ cpu, memory resource.Quantity }

// add adds what list has of both, and reports whether it has some of each.
func (a *amounts) add(list corev1.ResourceList) bool {
	cpu := list[corev1.ResourceCPU]
	memory := list[corev1.ResourceMemory]
	if cpu.Sign() > 0 {
		a.cpu.Add(cpu)
	}
	if memory.Sign() > 0 {
		a.memory.Add(memory)
	}
	return cpu.Sign() > 0 && memory.Sign() > 0
}

func (a *amounts) isZero() bool { return a.cpu.IsZero() && a.memory.IsZero() }

func (a *amounts) equal(b *amounts) bool { return a.cpu.Cmp(b.cpu) == 0 && a.memory.Cmp(b.memory) == 0 }

// hasPodLevelResources reports whether the pod itself, not only its containers, requests or limits something
// (IsPodLevelResourcesSet in k8s.io/component-helpers/resource, v0.36.3).
func hasPodLevelResources(pod *corev1.Pod) bool {
	if pod.Spec.Resources == nil {
		return false
	}
	for _, list := range []corev1.ResourceList{pod.Spec.Resources.Requests, pod.Spec.Resources.Limits} {
		for name := range list {
			if name == corev1.ResourceCPU || name == corev1.ResourceMemory ||
				strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
				return true
			}
		}
	}
	return false
}
