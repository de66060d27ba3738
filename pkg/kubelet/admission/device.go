// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/devicemanager"
)

// kubevirtDevices are served by KubeVirt's own plugins for devices that every node has alike. Their devices have no NUMA
// node, so they give the topology manager no hint (PermanentHostDevicePlugins and updatePermittedHostDevicePlugins in
// KubeVirt's pkg/virt-handler/device-manager/device_controller.go; kubelet
// pkg/kubelet/cm/devicemanager/topology_hints.go, v1.36.3). Every other name in this domain may be a host device that
// an administrator has permitted, and those have NUMA nodes. The list is asked only where a node's devices are not known.
var kubevirtDevices = []string{"kvm", "tun", "vhost-net", "vhost-vsock", "sev", "pr-helper"}

// devicesOf are a container's limits of extended resources, sorted by name.
func devicesOf(pod *corev1.Pod, c *corev1.Container) []devicemanager.Request {
	var requests []devicemanager.Request
	for name, amount := range c.Resources.Limits {
		if IsExtended(name) {
			requests = append(requests, devicemanager.Request{
				Resource: string(name), Count: int(amount.Value()), DRA: servedByDRA(pod, c.Name, string(name)),
			})
		}
	}
	slices.SortFunc(requests, func(a, b devicemanager.Request) int { return strings.Compare(a.Resource, b.Resource) })
	return requests
}

// IsExtended reports whether a device plugin may serve a resource (IsExtendedResourceName in
// pkg/apis/core/v1/helper/helpers.go, v1.36.3).
func IsExtended(name corev1.ResourceName) bool {
	resource := string(name)
	return strings.Contains(resource, "/") && !strings.Contains(resource, corev1.ResourceDefaultNamespacePrefix) &&
		!strings.HasPrefix(resource, corev1.DefaultResourceRequestsPrefix)
}

// servedByDRA reports whether the scheduler has mapped a container's extended resource to a resource claim
// (isDRAExtendedResource in pkg/kubelet/cm/devicemanager/manager.go, v1.36.3).
func servedByDRA(pod *corev1.Pod, container, resource string) bool {
	claim := pod.Status.ExtendedResourceClaimStatus
	return claim != nil && slices.ContainsFunc(claim.RequestMappings, func(m corev1.ContainerExtendedResourceRequest) bool {
		return m.ContainerName == container && m.ResourceName == resource
	})
}

// unknownDevice is the first by name of the extended resources that p asks for and that may have NUMA nodes for all that
// is known, or "".
func (p *Pod) unknownDevice() string {
	first := ""
	for i := range p.Containers {
		for _, r := range p.Containers[i].Devices {
			name, ofKubeVirt := strings.CutPrefix(r.Resource, "devices.kubevirt.io/")
			if ofKubeVirt && slices.Contains(kubevirtDevices, name) || r.Count == 0 {
				continue
			}
			if first == "" || r.Resource < first {
				first = r.Resource
			}
		}
	}
	return first
}
