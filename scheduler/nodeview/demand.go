package nodeview

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubeletcpu"
)

// kubevirtDevices begins the names of the devices that KubeVirt's own device plugins serve, such as kvm
// and vhost-net. They have no NUMA node, so they give the topology manager no hint (KubeVirt
// pkg/virt-handler/device-manager/generic_device.go, v1.5; kubelet
// pkg/kubelet/cm/devicemanager/topology_hints.go, v1.36.3).
const kubevirtDevices = "devices.kubevirt.io/"

// Demand is what a pod asks of a node's CPUs.
type Demand struct {
	Pod kubeletcpu.Pod
	// Key is equal for demands that every node answers alike. Container names are in it, since they are in
	// the answer too.
	Key string
	// device is a device whose NUMA node the kubelet may align the CPUs with; "" for none.
	device string
}

// DemandOf reads a pod.
func DemandOf(pod *corev1.Pod) Demand {
	d := Demand{Pod: kubeletcpu.PodOf(pod), device: deviceOf(pod)}
	var b strings.Builder
	b.WriteString(d.device)
	for _, c := range d.Pod.Containers {
		if c.CPUs > 0 {
			fmt.Fprintf(&b, ",%s %s %d", c.Kind, c.Name, c.CPUs)
		}
	}
	d.Key = b.String()
	return d
}

// inexact is "" where the kubelet of node decides about the pod as predicted, and else why not: whatever
// kubeletcpu says, and devices, which package kubeletcpu leaves to its callers.
func (d *Demand) inexact(node *kubeletcpu.Node) string {
	if d.device != "" && node.TopologyManager.Policy != kubeletcpu.TopologyNone {
		return fmt.Sprintf("the NUMA nodes of device %s are not modelled", d.device)
	}
	return node.Inexact(d.Pod)
}

// deviceOf is the first extended resource that a container asks for, those without a NUMA node left out.
func deviceOf(pod *corev1.Pod) string {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			first := ""
			for name, amount := range containers[i].Resources.Limits {
				device := string(name)
				if extended(device) && !amount.IsZero() && (first == "" || device < first) {
					first = device
				}
			}
			if first != "" {
				return first
			}
		}
	}
	return ""
}

// extended tells whether a resource may be a device with a NUMA node.
func extended(resource string) bool {
	domain, _, qualified := strings.Cut(resource, "/")
	return qualified && !strings.HasPrefix(resource, kubevirtDevices) &&
		domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io")
}
