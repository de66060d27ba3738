// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// Needs is the CPU that a node must have free for a pod. Exclusive CPUs are taken out of the shared
// pool. The containers that stay in the shared pool need a fraction of it.
//
// A launcher pod always needs both. KubeVirt gives a hook sidecar 200m, virtiofs 100m, the console log 15m
// and a container disk 10m (pkg/virt-controller/services/renderresources.go), unless supportContainerResources in
// the KubeVirt object says otherwise. The kubelet counts all of it against the node's allocatable CPUs, as kube-scheduler
// does. So 8 allocatable CPUs do not hold two VMs of 4 with a sidecar each, which ask for 8.4.
type Needs struct {
	// Exclusive are the CPUs by container, in the order in which the kubelet grants them.
	Exclusive []Share
	// Shared are the thousandths of a CPU that the other long-running containers ask for, by container: app
	// containers and sidecars, not init containers that end before the guest starts.
	Shared []Share
	// ExclusiveCPUs is the largest number of exclusive CPUs that the pod holds at once.
	ExclusiveCPUs int
	// Milli is what the node is charged for the pod, in thousandths of a CPU, overhead and init
	// containers included.
	Milli int64
}

// Share is what one container asks for: whole CPUs, or thousandths of the shared pool.
type Share struct {
	Container string
	CPUs      int
	Milli     int64
}

// NeedsOf reads any pod.
func NeedsOf(pod *corev1.Pod) Needs {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	n := Needs{Milli: requests.Cpu().MilliValue()}
	asked := make(map[string]int64, len(pod.Spec.InitContainers)+len(pod.Spec.Containers))
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			asked[containers[i].Name] = containers[i].Resources.Requests.Cpu().MilliValue()
		}
	}
	asks := admission.PodOf(pod)
	for _, c := range asks.Containers {
		switch {
		case c.CPUs > 0:
			n.Exclusive = append(n.Exclusive, Share{Container: c.Name, CPUs: c.CPUs})
		case c.Kind != admission.Init && asked[c.Name] > 0:
			n.Shared = append(n.Shared, Share{Container: c.Name, Milli: asked[c.Name]})
		}
	}
	n.ExclusiveCPUs = asks.PeakCPUs()
	return n
}

// Fraction is what the pod needs of the shared pool, in thousandths of a CPU: all that it is charged for and
// does not hold exclusively.
func (n Needs) Fraction() int64 { return max(n.Milli-int64(n.ExclusiveCPUs)*1000, 0) }
