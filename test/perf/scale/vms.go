// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/launcherpod"
	"corepin.dev/corepin/test/harness/testbed"
)

// A VM's kind is its CPUs, its hook sidecars and its virtiofs shares: 20 x 5 x 5 kinds, and then the same again with more memory.
// Each sidecar and each share is a container of the launcher pod.
const (
	shapes   = 20
	sidecars = 5
	shares   = 5
	// tooLarge is more CPUs than a NUMA node has, and fewer than a node.
	tooLarge = 66
)

// machines are the VMs that a storm is made of.
type machines struct {
	kinds int
	// unfit is how many of 100 VMs fit no node.
	unfit int
}

// fits reports whether a VM fits an empty node. Those that do not are spread evenly.
func (m *machines) fits(number int) bool { return number*37%100 >= m.unfit }

// unfitOf is how many of the first n VMs fit no node.
func (m *machines) unfitOf(n int) (unfit int) {
	for i := range n {
		if !m.fits(i) {
			unfit++
		}
	}
	return unfit
}

// vmi is one of the VirtualMachineInstances.
func (m *machines) vmi(number int) (*unstructured.Unstructured, error) {
	kind := number % m.kinds
	cpus := 2 + 2*(kind%shapes)
	if !m.fits(number) {
		cpus = tooLarge
	}
	rest := kind / shapes
	hooks := strings.Repeat(`,{"image":"sidecar"}`, rest%sidecars)
	rest /= sidecars
	var names, volumes strings.Builder
	for i := range rest % shares {
		fmt.Fprintf(&names, "{name: share-%d, virtiofs: {}},", i)
		fmt.Fprintf(&volumes, "{name: share-%d, configMap: {name: settings}},", i)
	}
	rest /= shares
	text := fmt.Sprintf(`
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: vm-%d, namespace: %s, annotations: {hooks.kubevirt.io/hookSidecars: '[%s]'}}
spec:
  schedulerName: corepin
  domain:
    cpu: {cores: %d, dedicatedCpuPlacement: true}
    memory: {guest: %dMi}
    devices: {filesystems: [%s]}
  volumes: [%s]
`, number, testbed.VMNamespace, strings.TrimPrefix(hooks, ","), cpus, 1024+256*rest, names.String(), volumes.String())
	object := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		return nil, fmt.Errorf("writing VM %d: %w", number, err)
	}
	return &unstructured.Unstructured{Object: object}, nil
}

// equip gives a node what it needs so that each VM may come to it: labels, storage, and KubeVirt's devices.
func (m *machines) equip(node *corev1.Node) error {
	for kind := range m.kinds {
		pod, err := m.pod(kind)
		if err != nil {
			return err
		}
		maps.Copy(node.Labels, pod.Spec.NodeSelector)
		for i := range pod.Spec.Containers {
			for name := range pod.Spec.Containers[i].Resources.Requests {
				provide(node, name)
			}
		}
	}
	return nil
}

// provide gives a node more than enough of a resource that it does not have.
func provide(node *corev1.Node, name corev1.ResourceName) {
	if _, there := node.Status.Allocatable[name]; there {
		return
	}
	amount := resource.MustParse("1k")
	if name == corev1.ResourceEphemeralStorage {
		amount = resource.MustParse("1Ti")
	}
	node.Status.Allocatable[name] = amount
	node.Status.Capacity[name] = amount
}

// pod is the launcher pod of a VM whose VMI is not in the cluster.
func (m *machines) pod(number int) (*corev1.Pod, error) {
	vmi, err := m.vmi(number)
	if err != nil {
		return nil, err
	}
	return launch(vmi)
}

// launch is the launcher pod of a VMI. It is named as the VM, and belongs to its VMI where that is in the cluster: the garbage collector
// removes a pod whose owner it does not find.
func launch(vmi *unstructured.Unstructured) (*corev1.Pod, error) {
	pod, err := launcherpod.Render(vmi)
	if err != nil {
		return nil, err
	}
	pod.Name = vmi.GetName()
	pod.GenerateName = ""
	if vmi.GetUID() == "" {
		pod.OwnerReferences = nil
	}
	return pod, nil
}
