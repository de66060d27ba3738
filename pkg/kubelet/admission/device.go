package admission

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// kubevirtDevices is the domain of the devices that KubeVirt's own device plugins serve, such as kvm and
// vhost-net. They have no NUMA node, so they give the topology manager no hint (KubeVirt
// pkg/virt-handler/device-manager/generic_device.go, v1.5; kubelet
// pkg/kubelet/cm/devicemanager/topology_hints.go, v1.36.3).
const kubevirtDevices = "devices.kubevirt.io"

// deviceOf is the first by name of a pod's extended resources, those without a NUMA node left out.
func deviceOf(pod *corev1.Pod) string {
	first := ""
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			for name, amount := range containers[i].Resources.Limits {
				device := string(name)
				if mayHaveNUMANode(device) && !amount.IsZero() && (first == "" || device < first) {
					first = device
				}
			}
		}
	}
	return first
}

func mayHaveNUMANode(resource string) bool {
	domain, _, qualified := strings.Cut(resource, "/")
	ours := slices.Contains([]string{kubevirtDevices, "kubernetes.io"}, domain) || strings.HasSuffix(domain, ".kubernetes.io")
	return qualified && !ours
}
