// SPDX-License-Identifier: Apache-2.0

package vms

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// TestAbout asks for the objects that an event about a launcher pod is written on too.
func TestAbout(t *testing.T) {
	owner := func(kind, version string, controller bool) []any {
		return []any{map[string]any{"apiVersion": version, "kind": kind, "name": "db", "uid": "vm-uid", "controller": controller}}
	}
	for _, tc := range []struct {
		name   string
		owners []any
		uid    string // that the pod says of its VMI
		want   string
	}{
		{"a VMI by itself", nil, "vmi-uid", "VirtualMachineInstance vms/db vmi-uid"},
		{"of a VirtualMachine", owner("VirtualMachine", "kubevirt.io/v1", true), "vmi-uid",
			"VirtualMachineInstance vms/db vmi-uid, VirtualMachine vms/db vm-uid"},
		{"of a replica set", owner("VirtualMachineInstanceReplicaSet", "kubevirt.io/v1", true), "vmi-uid", "VirtualMachineInstance vms/db vmi-uid"},
		{"owned, not controlled", owner("VirtualMachine", "kubevirt.io/v1", false), "vmi-uid", "VirtualMachineInstance vms/db vmi-uid"},
		{"of another group", owner("VirtualMachine", "example.org/v1", true), "vmi-uid", "VirtualMachineInstance vms/db vmi-uid"},
		{"a VMI of that name made anew", nil, "before", ""},
		{"a pod that names no VMI", nil, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var v View
			metadata := map[string]any{"namespace": "vms", "name": "db", "uid": "vmi-uid"}
			if tc.owners != nil {
				metadata["ownerReferences"] = tc.owners
			}
			v.Set(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
				"metadata": metadata, "spec": map[string]any{"domain": map[string]any{}}}})
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: "virt-launcher-db-x", Labels: map[string]string{"kubevirt.io": "virt-launcher"}}}
			if tc.uid != "" {
				pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "kubevirt.io/v1", Kind: "VirtualMachineInstance", Name: "db", UID: types.UID(tc.uid)}}
			}
			var got []string
			for _, ref := range v.About(pod) {
				if ref.APIVersion != "kubevirt.io/v1" {
					t.Errorf("%s has API version %s", ref.Kind, ref.APIVersion)
				}
				got = append(got, ref.Kind+" "+ref.Namespace+"/"+ref.Name+" "+string(ref.UID))
			}
			if text := strings.Join(got, ", "); text != tc.want {
				t.Errorf("got %q, want %q", text, tc.want)
			}
		})
	}
}
