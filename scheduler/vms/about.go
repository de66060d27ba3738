// SPDX-License-Identifier: Apache-2.0

package vms

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"corepin.dev/corepin/pkg/launcher"
)

// kindVM is the kind of the objects that users write. Its controller makes the VMI (pkg/virt-controller/watch/vm of KubeVirt v1.9.0).
const kindVM = "VirtualMachine"

// About are references to the objects by which a user knows a launcher pod: its VMI, and the VirtualMachine that controls the VMI.
// It is empty for a pod whose VMI the view does not have. A replica set or pool of VMIs is left out: it would hear of each of them.
func (v *View) About(pod *corev1.Pod) []*corev1.ObjectReference {
	l, is := launcher.Of(pod)
	if !is || l.VMIUID == "" {
		return nil
	}
	value, ok := v.vmis.Load(l.VMI)
	if !ok {
		return nil
	}
	e := value.(*entry)
	if e.UID != l.VMIUID {
		return nil
	}
	about := []*corev1.ObjectReference{{
		APIVersion: Resource.GroupVersion().String(), Kind: "VirtualMachineInstance", Namespace: e.Namespace, Name: e.Name, UID: e.UID,
	}}
	if owner := metav1.GetControllerOfNoCopy(e); owner != nil {
		about = append(about, &corev1.ObjectReference{
			APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: e.Namespace, Name: owner.Name, UID: owner.UID,
		})
	}
	return about
}

// controllingVM is the owner reference to the VirtualMachine that controls a VMI, alone; nil where none does.
func controllingVM(object metav1.Object) []metav1.OwnerReference {
	owner := metav1.GetControllerOf(object)
	if owner == nil || owner.Kind != kindVM {
		return nil
	}
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	if err != nil || version.Group != Resource.Group {
		return nil
	}
	return []metav1.OwnerReference{*owner}
}
