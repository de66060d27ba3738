package explain

import (
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// Count is kube-scheduler's view of the CPUs of a node and of what the pod asks: millicores, without regard
// to which CPUs they are (pkg/scheduler/framework/plugins/noderesources/fit.go, v1.36.3).
type Count struct {
	// Allocatable is the node's, Requested that of all pods on it.
	Allocatable, Requested int64
	// Fractions are what the containers in the shared pool request, in the order of Pod.Containers; 0 for
	// those with CPUs of their own.
	Fractions []int64
	// Overhead is the pod's own.
	Overhead int64
}

// NewCount is the count of a node for a pod.
func NewCount(allocatable, requested int64, pod *corev1.Pod) *Count {
	count := &Count{Allocatable: allocatable, Requested: requested, Overhead: pod.Spec.Overhead.Cpu().MilliValue()}
	asks := admission.PodOf(pod)
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			fraction := int64(0)
			if asks.Containers[len(count.Fractions)].CPUs == 0 {
				fraction = containers[i].Resources.Requests.Cpu().MilliValue()
			}
			count.Fractions = append(count.Fractions, fraction)
		}
	}
	return count
}

// asked is what kube-scheduler counts for the pod (PodRequests in k8s.io/component-helpers/resource,
// v0.36.3): its containers together, or an init container and the sidecars started before it, whichever is
// more. Pod-level resources are not counted so: a Case of a pod that has them has no Count.
func (c *Case) asked() int64 {
	return c.Count.Overhead + c.Pod.Peak(func(i int) int64 {
		return 1000*int64(c.Pod.Containers[i].CPUs) + c.Count.Fractions[i]
	})
}

// left is what is left of the node's millicores.
func (c *Count) left() int64 { return max(0, c.Allocatable-c.Requested) }

// missing is how many millicores are too few by count; 0 where they are enough or not counted.
func (c *Case) missing() int64 {
	if c.Count == nil {
		return 0
	}
	return max(0, c.asked()-(c.Count.Allocatable-c.Count.Requested))
}
