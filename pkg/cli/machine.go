// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/launcherpod"
	"corepin.dev/corepin/pkg/objects"
	"corepin.dev/corepin/pkg/vmi"
)

// virtualMachine is a VirtualMachine or a VirtualMachineInstance of the input.
type virtualMachine struct {
	kind string
	name types.NamespacedName
	// sized has the sizes of the instancetype too.
	sized *vmi.VMI
	// created reports that the object is from a cluster, and not only planned.
	created bool
	// pod is the launcher pod that KubeVirt would make.
	pod *corev1.Pod
	// mobile is what a VirtualMachineInstance that exists says about live migration; nil for others.
	mobile *mobility
}

// isVM reports whether an object is a virtual machine.
func isVM(o *objects.Object) bool {
	return o.Group() == kubevirtGroup && slices.Contains(vmKinds, o.Kind)
}

var vmKinds = []string{vmi.KindVM, vmi.KindVMI}

// machineTypeLabel begins the labels of KubeVirt's node labeller for machine types.
const machineTypeLabel = "machine-type.node.kubevirt.io/"

// addVM adds a virtual machine. One that is only planned is a pod that is to come: the launcher pod that KubeVirt would
// make of it.
func (s *snapshot) addVM(o *objects.Object) error {
	m, err := s.readVM(o)
	if err != nil {
		return o.Wrap(fmt.Errorf("%s: %w", called(o), err))
	}
	s.vms = append(s.vms, m)
	if m.created {
		return nil
	}
	if s.listed[nameOf(m.pod)] {
		return o.Wrap(fmt.Errorf("%s: a second virtual machine of this name; rename it, or leave one out", called(o)))
	}
	s.listed[nameOf(m.pod)] = true
	s.pods = append(s.pods, m.pod)
	return nil
}

// readVM reads a virtual machine and renders its launcher pod.
func (s *snapshot) readVM(o *objects.Object) (*virtualMachine, error) {
	request, err := readMachine(o)
	if err != nil {
		return nil, err
	}
	sized, conflicts, missing := s.validator.sizes.complete(request)
	if len(missing) > 0 {
		return nil, fmt.Errorf("its sizes are in %s; give that too", missing[0])
	}
	refused := vmi.Errors(conflicts)
	if len(refused) > 0 {
		return nil, fmt.Errorf("KubeVirt would refuse it: %s", refused[0])
	}
	fields, err := o.Fields()
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{Object: fields}
	m := &virtualMachine{
		kind:    o.Kind,
		name:    types.NamespacedName{Namespace: cmp.Or(o.Namespace, metav1.NamespaceDefault), Name: o.Name},
		sized:   sized,
		created: object.GetUID() != "",
	}
	if m.created && o.Kind == vmi.KindVMI {
		m.mobile = mobilityOf(fields)
	}
	if o.Kind == vmi.KindVM {
		template, _, _ := unstructured.NestedMap(fields, "spec", "template")
		object = &unstructured.Unstructured{Object: template}
	}
	defaulted := *sized // by RenderSized
	m.pod, err = launcherpod.RenderSized(object, &defaulted)
	if err != nil {
		return nil, err
	}
	m.pod.Name = "virt-launcher-" + o.Name
	m.pod.Namespace = m.name.Namespace
	if request.Spec.Architecture == "" {
		delete(m.pod.Spec.NodeSelector, corev1.LabelArchStable) // it is that of the cluster, whatever that is
	}
	maps.DeleteFunc(m.pod.Spec.NodeSelector, func(key, _ string) bool { // KubeVirt fills the machine type in
		return strings.HasPrefix(key, machineTypeLabel) && request.Spec.NodeSelector[key] == ""
	})
	defaultRequests(m.pod)
	return m, nil
}

// vmNamed is a virtual machine of the input; nil where there is none.
func (s *snapshot) vmNamed(name types.NamespacedName) *virtualMachine {
	for _, m := range s.vms {
		if m.name == name {
			return m
		}
	}
	return nil
}

// only is the name of the one virtual machine, or else the one pod, of the input that looks for a node.
func (s *snapshot) only() (kind, namespace, name string, err error) {
	var vms, pods []string
	for _, m := range s.vms {
		if !m.created {
			vms = append(vms, "vm "+qualified(m.name.Namespace, m.name.Name))
			kind = "vmi"
			namespace = m.name.Namespace
			name = m.name.Name
		}
	}
	for _, pod := range s.pods {
		if len(vms) == 0 && pod.Spec.NodeName == "" && !ended(pod) {
			pods = append(pods, "pod "+nameOf(pod))
			kind = "pod"
			namespace = cmp.Or(pod.Namespace, metav1.NamespaceDefault)
			name = pod.Name
		}
	}
	switch candidates := append(vms, pods...); len(candidates) {
	case 0:
		return "", "", "", fmt.Errorf("want vm NAME, vmi NAME or pod NAME: the input has no new virtual machine and no pod without a node")
	case 1:
		return kind, namespace, name, nil
	default:
		return "", "", "", fmt.Errorf("want vm NAME, vmi NAME or pod NAME: the input has several, %s and %s first", candidates[0], candidates[1])
	}
}
