// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// Problems says why a dedicated launcher pod would not get exclusive CPUs for its guest, each reason
// with the fix; nil means that it would. Other pods have no problems.
func Problems(pod *corev1.Pod) []string {
	if !Dedicated(pod) {
		return nil
	}
	kubelet := admission.PodOf(pod)
	if kubelet.PodLevelResources {
		return []string{"the pod has resources of its own in spec.resources, and the kubelet gives no exclusive CPUs to such pods; " +
			"state CPU and memory for each container instead"}
	}
	var problems []string
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			problem := notGuaranteed(&containers[i])
			if problem != "" {
				problems = append(problems, problem)
			}
		}
	}
	compute := computeOf(pod)
	if compute == nil {
		return append(problems, "the pod has no container to run the guest in; let the VMI's controller make it")
	}
	if !kubelet.Guaranteed && len(problems) == 0 {
		problems = append(problems, fmt.Sprintf("the API server gave the pod QoS class %s, and only Guaranteed pods get exclusive CPUs; "+
			"delete the pod so that it is made again", pod.Status.QOSClass))
	}
	cpu := compute.Resources.Requests[corev1.ResourceCPU]
	if cpu.Sign() > 0 && cpu.Value()*1000 != cpu.MilliValue() {
		problems = append(problems, fmt.Sprintf("container %q asks for %s CPUs, and only whole CPUs can be exclusive; "+
			"give the VMI a whole number of CPUs", compute.Name, cpu.String()))
	}
	return problems
}

// notGuaranteed says why a container keeps its pod from the QoS class Guaranteed; "" means that it does
// not. Both resources need a limit, and a request equal to it.
func notGuaranteed(c *corev1.Container) string {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request := c.Resources.Requests[name]
		limit := c.Resources.Limits[name]
		what := ""
		switch {
		case limit.Sign() <= 0:
			what = fmt.Sprintf("has no %s limit", name)
		case request.Cmp(limit) != 0:
			what = fmt.Sprintf("requests %s of %s and is limited to %s", request.String(), name, limit.String())
		default:
			continue
		}
		return fmt.Sprintf("container %q %s, so that the pod is not Guaranteed and no container of it gets exclusive CPUs; "+
			"give it equal requests and limits for CPU and memory, or keep its injector away from this pod", c.Name, what)
	}
	return ""
}

// SupportProblems says of a dedicated launcher pod which containers besides the guest's would take exclusive CPUs
// of their own, each with the fix. The guest gets its CPUs all the same. The others are kept from
// everybody, for a container that KubeVirt means to leave in the shared pool.
func SupportProblems(pod *corev1.Pod) []string {
	l, ok := Of(pod)
	if !ok || !l.Dedicated {
		return nil
	}
	return l.supportProblems()
}

func (l *Launcher) supportProblems() []string {
	var problems []string
	for _, c := range l.Others {
		problems = append(problems, fmt.Sprintf("container %q asks for a whole number of CPUs and takes exclusive CPUs "+
			"of its own (%d), which the guest cannot use; give it a fraction, such as 200m, to leave it in the shared pool", c.Container, c.CPUs))
	}
	return problems
}
