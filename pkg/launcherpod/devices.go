// SPDX-License-Identifier: Apache-2.0

package launcherpod

import corev1 "k8s.io/api/core/v1"

// Resources that KubeVirt's device plugins on a node hand out.
const (
	KVMDevice   = corev1.ResourceName("devices.kubevirt.io/kvm")
	TunDevice   = corev1.ResourceName("devices.kubevirt.io/tun")
	VhostDevice = corev1.ResourceName("devices.kubevirt.io/vhost-net")
	vsockDevice = corev1.ResourceName("devices.kubevirt.io/vhost-vsock")
)

// devices are the resources of device plugins and their counts (getRequiredResources, renderresources.go). KVM is there
// unless the cluster emulates CPUs, a network card needs a TAP device, and one of virtio the kernel's part of it.
func (m *machine) devices() map[corev1.ResourceName]int64 {
	fields := &m.domain.Devices
	counts := map[corev1.ResourceName]int64{KVMDevice: 1}
	if len(fields.Interfaces) > 0 || !off(fields.AutoattachPodInterface) {
		counts[TunDevice] = 1
	}
	for _, card := range fields.Interfaces {
		if card.Model == "" || card.Model == "virtio" {
			counts[VhostDevice] = 1
		}
	}
	if fields.AutoattachVSOCK != nil && *fields.AutoattachVSOCK {
		counts[vsockDevice] = 1
	}
	for _, list := range [][]passthrough{fields.GPUs, fields.HostDevices} {
		for _, device := range list {
			if device.DeviceName != "" {
				counts[corev1.ResourceName(device.DeviceName)]++
			}
		}
	}
	return counts
}

// passesThrough reports whether the guest has devices of the host, for which all of its memory is locked (HasVFIO,
// pkg/vmitrait/vmitrait.go).
func (m *machine) passesThrough() bool {
	fields := &m.domain.Devices
	for _, card := range fields.Interfaces {
		if card.SRIOV != nil {
			return true
		}
	}
	return len(fields.GPUs)+len(fields.HostDevices) > 0
}

// masquerades reports whether a network card is behind the pod's own address, which service meshes are told.
func (m *machine) masquerades() bool {
	for _, card := range m.domain.Devices.Interfaces {
		if card.Masquerade != nil {
			return true
		}
	}
	return false
}

// ports are those that the network cards name.
func (m *machine) ports() []corev1.ContainerPort {
	var ports []corev1.ContainerPort
	for _, card := range m.domain.Devices.Interfaces {
		for _, port := range card.Ports {
			if port.Protocol == "" {
				port.Protocol = corev1.ProtocolTCP
			}
			ports = append(ports, corev1.ContainerPort{Name: port.Name, Protocol: port.Protocol, ContainerPort: port.Port})
		}
	}
	return ports
}
