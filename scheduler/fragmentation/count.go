// SPDX-License-Identifier: Apache-2.0

package fragmentation

import (
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/kubelet/predicates"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/nodes"
	"corepin.dev/corepin/scheduler/wakeup"
)

// sizes are the CPUs of the VMs that are counted, those of kubectl corepin capacity.
var sizes = [...]int64{2, 4, 8, 16, 32}

// shape is a VM of one size.
type shape struct {
	pod    *corev1.Pod
	demand verdict.Demand
}

// shapes are VMs of the sizes, in their order.
var shapes = func() (all [len(sizes)]shape) {
	for i, cpus := range sizes {
		amounts := corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewQuantity(cpus, resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(1, resource.DecimalSI), // a Guaranteed pod has some
		}
		pod := &corev1.Pod{}
		pod.Spec.Containers = []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: amounts, Limits: amounts}}}
		all[i] = shape{pod, verdict.DemandOf(pod)}
	}
	return all
}()

// counts are what there is for further VMs, in the order of sizes.
type counts struct {
	// placeable is how many more VMs fit.
	placeable [len(sizes)]int
	// stranded is how many free CPUs no further VM can use.
	stranded [len(sizes)]int
}

func (c *counts) add(other *counts) {
	for i := range sizes {
		c.placeable[i] += other.placeable[i]
		c.stranded[i] += other.stranded[i]
	}
}

// count is what a node with these pods has.
func count(view *nodes.View, node *corev1.Node, pods []*corev1.Pod) counts {
	amounts := predicates.New(node)
	for _, pod := range pods {
		amounts.Add(pod)
	}
	var c counts
	for i := range shapes {
		most := 0
		if takesVMs(node, shapes[i].pod) {
			most = amounts.Room(shapes[i].pod)
		}
		room := view.Room(node, &shapes[i].demand, most)
		if room.Exact {
			c.placeable[i] = room.Pods
			c.stranded[i] = room.Free
		}
	}
	return c
}

// takesVMs reports whether a node takes VMs at all.
func takesVMs(node *corev1.Node, pod *corev1.Pod) bool {
	return !node.Spec.Unschedulable && verdict.Labelled(node) && wakeup.Reaches(logr.Discard(), node, pod)
}
