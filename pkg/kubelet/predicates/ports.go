// SPDX-License-Identifier: Apache-2.0

package predicates

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
)

// hostPort is a port of the node.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	number   int32
}

const everyIP = "0.0.0.0"

// hostPorts are the ports that a pod's containers and sidecars ask for (GetHostPorts in
// pkg/scheduler/util/utils.go, v1.36.3).
func hostPorts(pod *corev1.Pod) []hostPort {
	var ports []hostPort
	add := func(c *corev1.Container) {
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				ports = append(ports, hostPort{cmp.Or(port.HostIP, everyIP), cmp.Or(port.Protocol, corev1.ProtocolTCP), port.HostPort})
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return ports
}

// conflicts reports whether no two pods can have p and q.
func (p hostPort) conflicts(q hostPort) bool {
	return p.protocol == q.protocol && p.number == q.number && (p.ip == q.ip || p.ip == everyIP || q.ip == everyIP)
}
