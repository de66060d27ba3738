// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"slices"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// certain are the refusals that the CPU manager and the topology manager come to on CPUs alone.
var certain = []string{admission.ReasonTopologyAffinity, admission.ReasonSMTAlignment, admission.ReasonUnexpected}

// refusedOnCPUs is the kubelet's refusal on account of CPUs alone, or nil. It is certain where memory and devices are not known:
// those managers can only take sets of NUMA nodes away (mergePermutation in pkg/kubelet/cm/topologymanager/policy.go,
// v1.36.3). The pods in flight count as not there, since nobody knows which CPUs they get. They can only take CPUs away.
func (n *Node) refusedOnCPUs(d *Demand) *admission.Decision {
	kubelet := *n.Kubelet
	kubelet.MemoryManager = ""
	kubelet.Memory = nil
	kubelet.Devices = &devicemanager.State{}
	kubelet.Ending = nil
	if kubelet.Inexact(d.Pod) != "" || d.Pod.PodLevelResources {
		return nil
	}
	for _, pod := range n.separately(d.Pod) {
		decision := admission.Admit(&kubelet, &pod)
		if decision.Verdict == admission.Refused && slices.Contains(certain, decision.Reason) {
			return &decision
		}
	}
	return nil
}

// refusedBesides reports of a pod that the kubelet refuses that it does so for memory or devices.
func (n *Node) refusedBesides(d *Demand) bool {
	memory, devices := n.Kubelet.Besides(&d.Pod)
	return (memory || len(devices) > 0) && n.refusedOnCPUs(d) == nil
}

// separately is the pod as the topology manager looks at it: as a whole under scope pod, or else each container that asks for
// CPUs. What a container gets where other managers have a say is not known, and so neither what it leaves for the next one.
func (n *Node) separately(pod admission.Pod) []admission.Pod {
	if n.Kubelet.TopologyManager.Scope == topologymanager.ScopePod {
		return []admission.Pod{pod}
	}
	var pods []admission.Pod
	for i := range pod.Containers {
		if pod.Containers[i].CPUs > 0 {
			one := pod
			one.Containers = pod.Containers[i : i+1]
			pods = append(pods, one)
		}
	}
	return pods
}
