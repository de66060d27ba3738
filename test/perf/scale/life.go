// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// life is what else a cluster is like whose cycles are measured.
type life struct {
	kinds int // of pods
	full  int // nodes of 100 that have no CPUs left at first
	late  int // for how many binds a report is on its way
}

// pods is how many pods come: of the room that is left, a quarter stays.
func (l *life) pods(nodes int) int {
	if l.full == 0 {
		return podsPerNode * nodes
	}
	const perNode = 16
	return nodes * (100 - l.full) / 100 * perNode
}

// isFull reports whether a node is full at first. The others are spread evenly.
func (l *life) isFull(node int) bool { return node*37%100 < l.full }

// residents are the CPUs of the VMs that fill a node: all of both NUMA nodes.
var residents = []int64{32, 30, 32, 30}

// pod is one of the pods that come. Kinds differ in the VM's CPUs, in what the sidecar asks for, and in the compute container's name.
func (c *cluster) pod(number int) *corev1.Pod {
	pod := c.template.DeepCopy()
	pod.Name = fmt.Sprintf("pod-%d", number)
	pod.Namespace, pod.UID = "vms", types.UID(pod.Name)
	if c.scenario.pods == ordinary {
		return pod
	}
	pod.Status.QOSClass = corev1.PodQOSGuaranteed
	if c.kinds > 1 {
		kind := int64(number % c.kinds)
		c.ask(pod, 2+2*(kind%4), 100*(1+kind/4%5))
		pod.Spec.Containers[0].Name = fmt.Sprintf("compute-%d", kind/20)
	}
	return pod
}

// ask sets the CPUs of a VM, and the millicores of its sidecar.
func (c *cluster) ask(pod *corev1.Pod, cpus, sidecar int64) {
	for i, amount := range []*resource.Quantity{resource.NewQuantity(cpus, resource.DecimalSI), resource.NewMilliQuantity(sidecar, resource.DecimalSI)} {
		resources := &pod.Spec.Containers[i].Resources
		resources.Requests[corev1.ResourceCPU] = *amount
		resources.Limits[corev1.ResourceCPU] = *amount
	}
}

// fill puts VMs onto a node that is full at first.
func (c *cluster) fill(ctx context.Context, node int) error {
	if !c.isFull(node) {
		return nil
	}
	for i, cpus := range residents {
		pod := c.template.DeepCopy()
		pod.Name = fmt.Sprintf("resident-%d-%d", node, i)
		pod.Namespace, pod.UID = "vms", types.UID(pod.Name)
		pod.Spec.NodeName = c.nodes[node].Name
		pod.Status.QOSClass = corev1.PodQOSGuaranteed
		c.ask(pod, cpus, 100)
		asks := admission.PodOf(pod)
		decision := c.reported[node].admit(pod.UID, &asks)
		if decision.Verdict != admission.Admitted {
			return fmt.Errorf("filling node %s: its kubelet would refuse pod %s: %s", pod.Spec.NodeName, pod.Name, decision)
		}
		if err := c.Bound(ctx, pod); err != nil {
			return err
		}
	}
	return nil
}
