package admission

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// kubevirtDevices are served by KubeVirt's own plugins for devices that every node has alike. Their devices have no NUMA
// node, so they give the topology manager no hint (PermanentHostDevicePlugins and updatePermittedHostDevicePlugins in
// KubeVirt's pkg/virt-handler/device-manager/device_controller.go; kubelet
// pkg/kubelet/cm/devicemanager/topology_hints.go, v1.36.3). Every other name in this domain may be a host device that
// an administrator has permitted, and those have NUMA nodes.
var kubevirtDevices = []string{"kvm", "tun", "vhost-net", "vhost-vsock", "sev", "pr-helper"}

// deviceOf is the first by name of a pod's extended resources, without those that have no NUMA node.
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
	domain, name, qualified := strings.Cut(resource, "/")
	switch {
	case !qualified, domain == "kubernetes.io", strings.HasSuffix(domain, ".kubernetes.io"):
		return false
	case domain == "devices.kubevirt.io":
		return !slices.Contains(kubevirtDevices, name)
	}
	return true
}
