// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
)

// foreigner is another scheduler: it counts, and binds a pod whenever there are enough CPUs.
func (c *town) foreigner() {
	taken := int64(0)
	for _, pod := range c.known {
		taken += pod.Spec.Containers[0].Resources.Requests.Cpu().Value()
	}
	c.serial++
	size := []string{"1", "2", "2", "4", "6"}[c.random.IntN(5)]
	pod := vm(fmt.Sprintf("other%d", c.serial), size)
	if taken+pod.Spec.Containers[0].Resources.Requests.Cpu().Value() > 14 {
		return
	}
	c.foreign++
	c.disturbed = true
	c.others[pod.UID] = true
	c.came[pod.UID] = c.ends
	for _, ours := range slices.Concat(c.bound, c.waiting) {
		c.excused[ours.UID] = true
	}
	c.bound = append(c.bound, pod)
	if c.random.IntN(3) == 0 {
		c.hidden = append(c.hidden, pod)
		c.hid[pod.UID] = true
		return
	}
	c.known[pod.Name] = pod
}

// showAll lets the pod informer catch up with the other scheduler.
func (c *town) showAll() {
	for _, pod := range c.hidden {
		_, held := c.held[pod.UID]
		if held || slices.Contains(c.bound, pod) {
			c.known[pod.Name] = pod
		}
	}
	c.hidden = nil
}

// admit is life's, beside another scheduler. A kubelet may refuse pods of that scheduler, and ours that were bound at the same
// time, and no others.
func (c *town) admit() {
	if len(c.bound) == 0 {
		return
	}
	i := c.random.IntN(len(c.bound))
	pod := c.bound[i]
	c.before(pod)
	node := c.node()
	asks := admission.PodOf(pod)
	d := admission.Admit(&node, &asks)
	refused := d.Verdict != admission.Admitted
	unseen := slices.Contains(c.hidden, pod)
	switch {
	case unseen && !refused:
		// The kubelet has heard of it, and the scheduler has not.
		c.bound = slices.Delete(c.bound, i, i+1)
		c.held[pod.UID] = compute(d.Granted().String())
		c.report()
	case refused && (unseen || c.known[pod.Name] != nil) && (c.others[pod.UID] || c.excused[pod.UID]):
		c.collided++
		c.bound = slices.Delete(c.bound, i, i+1)
		c.hidden = slices.DeleteFunc(c.hidden, func(other *corev1.Pod) bool { return other == pod })
		delete(c.known, pod.Name) // it has failed
	default:
		c.admitAt(i)
	}
}

// renew replaces the machine: all pods are gone with the Node, and the new Node has no report yet.
func (c *town) renew() {
	c.renewed++
	c.disturbed = true
	for len(c.waiting) > 0 {
		c.end(c.waiting[0].Name)
	}
	for name, pod := range c.known {
		c.view.Left("n1", pod)
		delete(c.known, name)
	}
	c.bound = nil
	c.hidden = nil
	c.ending = nil
	c.vip = nil
	c.held = grants{}
	c.leavers = map[types.UID]int{}
	c.view.Delete("n1")
	c.reported = false
	c.born = metav1.NewTime(c.clock.Now())
	c.reports = nil
	p := c.view.predict(demand(with(vm("new", "2"), assumed)), c.info())
	if p.State != nodereport.Awaited || p.Fits() {
		c.t.Fatalf("the node is new, and it is %s, obstacle %q", p.State, p.Obstacle)
	}
	c.report()
}

// deliver is life's, and remembers that there is a report.
func (c *town) deliver() {
	c.reported = c.reported || len(c.reports) > 0
	c.life.deliver()
}

// resizeSidecar gives a pod's sidecar other CPUs: a whole one, which its kubelet refuses or defers, or 300m, which it gives.
func resizeSidecar(p *corev1.Pod, how int) {
	sidecar := &p.Spec.Containers[1].Resources
	was := sidecar.Requests.DeepCopy()
	asked := was.DeepCopy()
	asked[corev1.ResourceCPU] = resource.MustParse([]string{"1", "1", "300m"}[how])
	sidecar.Requests = asked
	sidecar.Limits = asked
	allocated := []corev1.ResourceList{was, was, asked}[how]
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "hook", AllocatedResources: allocated}}
	if how < 2 {
		reason := []string{corev1.PodReasonInfeasible, corev1.PodReasonDeferred}[how]
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: reason})
	}
}

// resize changes the spec of a pod that runs: of the guest's container or the sidecar's. The kubelet calls that infeasible,
// defers it, or, for the sidecar, does it.
func (c *town) resize() {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.known)) {
		pod := c.known[name]
		_, holds := c.held[pod.UID]
		if holds && pod.DeletionTimestamp == nil && len(pod.Status.ContainerStatuses) == 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return
	}
	name := names[c.random.IntN(len(names))]
	c.resized++
	c.known[name] = with(c.known[name].DeepCopy(), func(p *corev1.Pod) {
		if c.random.IntN(2) == 0 {
			resizeSidecar(p, c.random.IntN(3))
			return
		}
		was := p.Spec.Containers[0].Resources.Requests.DeepCopy()
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "compute", AllocatedResources: was}}
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: was[corev1.ResourceMemory]}
	})
}
