// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/test/harness/simnode"
)

const (
	compute    = "compute"
	namespace  = "vms"
	cpuManager = "cpumanager"

	vf        = corev1.ResourceName("intel.com/vf")
	hugePages = corev1.ResourceName("hugepages-1Gi")
	pageSize  = 1 << 30
)

// node is a machine with its kubelet.
type node struct {
	*machine
	object  *corev1.Node
	kubelet *simnode.Reported
	// held are the CPUs of the VMs that run.
	held map[types.UID]cpuset.Set
	// view is the node as it stands, for counting what is stranded; milli is what is left to request.
	view  admission.Node
	milli int
	// last is the report that was written last, and read what it says; nil until that is asked for.
	last *v1alpha1.NodeCPU
	read *nodereport.Report
}

func newNode(ctx context.Context, name string, m *machine, dir string) (*node, error) {
	n := &node{machine: m, held: map[types.UID]cpuset.Set{}, milli: 1000 * m.capacity()}
	amount := func(cpus int, memory int64) corev1.ResourceList {
		return corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewQuantity(int64(cpus), resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
			corev1.ResourcePods:   resource.MustParse("250"),
			hugePages:             *resource.NewQuantity(m.pages()*pageSize, resource.BinarySI),
			vf:                    *resource.NewQuantity(int64(len(m.vfs())), resource.DecimalSI),
		}
	}
	n.object = &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{cpuManager: "true", corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Capacity: amount(m.topology.CPUs().Len(), m.memory()), Allocatable: amount(m.capacity(), m.memory()-m.pages()*pageSize),
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	var err error
	if n.kubelet, err = m.start(ctx, dir, n.object); err != nil {
		return nil, fmt.Errorf("starting the kubelet of %s: %w", name, err)
	}
	cpus, err := cpumanager.Parse(m.settings.CPUManagerPolicy, m.settings.CPUManagerPolicyOptions)
	if err != nil {
		return nil, err
	}
	topology, err := topologymanager.Parse(m.settings.TopologyManagerPolicy, "", nil)
	if err != nil {
		return nil, err
	}
	n.view = admission.Node{Topology: m.topology, Minor: 36, CPUManager: cpus, TopologyManager: topology,
		Reserved: m.reserved, Shared: m.topology.CPUs()}
	return n, nil
}

// restart is the kubelet's end and its next start, with the pods that run. It returns how many it fails.
func (n *node) restart(ctx context.Context, running []*corev1.Pod) (failed int, err error) {
	rejected, err := n.kubelet.Restart(ctx, running)
	return len(rejected), err
}

// admit is the kubelet's decision about a pod; refused gives its reason.
func (n *node) admit(pod *corev1.Pod) (refused string, err error) {
	if rejections := n.kubelet.Admit(pod); len(rejections) > 0 {
		return rejections[0].Reason, nil
	}
	granted, ok := n.kubelet.State().GetCPUSet(string(pod.UID), compute)
	if !ok {
		return "", fmt.Errorf("the kubelet of %s admitted pod %s without exclusive CPUs", n.object.Name, pod.Name)
	}
	cpus := cpuset.Of(granted.UnsortedList()...)
	if cpus.Overlaps(n.taken()) {
		return "", fmt.Errorf("the kubelet of %s granted CPUs %s twice", n.object.Name, cpus)
	}
	n.held[pod.UID] = cpus
	n.view.Shared = n.topology.CPUs().Minus(n.taken())
	n.milli -= 1000*cpus.Len() + sidecarMilli
	return "", nil
}

// remove ends a pod.
func (n *node) remove(uid types.UID) {
	n.kubelet.Remove(uid)
	n.milli += 1000*n.held[uid].Len() + sidecarMilli
	delete(n.held, uid)
	n.view.Shared = n.topology.CPUs().Minus(n.taken())
}

// taken are the CPUs of the VMs that run.
func (n *node) taken() cpuset.Set {
	var all cpuset.Set
	for _, cpus := range n.held {
		all = all.Union(cpus)
	}
	return all
}

// takes reports whether the node could take one VM more.
func (n *node) takes(cpus int) bool {
	pod := admission.Pod{Guaranteed: true, Containers: []admission.Container{{Name: compute, CPUs: cpus}}}
	return n.milli >= 1000*cpus+sidecarMilli && admission.Admit(&n.view, &pod).Verdict == admission.Admitted
}

// report is the node's NodeCPU as its agent would write it.
func (n *node) report(ctx context.Context) (*unstructured.Unstructured, error) {
	n.last = n.kubelet.Report(ctx)
	n.read = nil
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(n.last)
	if err != nil {
		return nil, fmt.Errorf("writing the report of %s: %w", n.object.Name, err)
	}
	return &unstructured.Unstructured{Object: content}, nil
}

// reported is the report that was written last, as a scheduler reads it.
func (n *node) reported() *nodereport.Report {
	if n.read == nil {
		n.read = nodereport.Read(n.last)
	}
	return n.read
}

// launcherPod is the launcher pod of a VM.
func launcherPod(name string, vm size) *corev1.Pod {
	container := func(name string, milli, memory int64) corev1.Container {
		list := corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(milli, resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
		}
		return corev1.Container{Name: name, Image: "launcher", Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}
	}
	guest := container(compute, 1000*int64(vm.cpus), int64(vm.gibibytes)<<30)
	for name, amount := range map[corev1.ResourceName]int64{hugePages: int64(vm.pages) * pageSize, vf: int64(vm.vfs)} {
		if amount > 0 {
			guest.Resources.Limits[name] = *resource.NewQuantity(amount, resource.BinarySI) // the list of requests is the same one
		}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name), Labels: map[string]string{launcher.Label: launcher.LabelValue}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{cpuManager: "true"},
			Containers:   []corev1.Container{guest, container("hook-sidecar-0", sidecarMilli, 64<<20)},
		},
		Status: corev1.PodStatus{QOSClass: corev1.PodQOSGuaranteed},
	}
}
