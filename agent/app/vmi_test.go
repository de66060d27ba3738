// SPDX-License-Identifier: Apache-2.0

package app

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
)

func TestVMIReader(t *testing.T) {
	stored := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubevirt.io/v1alpha3", "kind": "VirtualMachineInstance",
		"metadata": map[string]any{"name": "db", "namespace": "vms", "uid": "one"},
		"spec":     map[string]any{"domain": map[string]any{"cpu": map[string]any{"isolateEmulatorThread": true}}},
	}}
	resource := schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1alpha3", Resource: "virtualmachineinstances"}
	client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{resource: "VirtualMachineInstanceList"}, stored)
	owned := func(apiVersion, kind, name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "vms", OwnerReferences: []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name}}}}
	}
	v, err := vmiReader{client}.of(t.Context(), owned("kubevirt.io/v1alpha3", "VirtualMachineInstance", "db"))
	if err != nil || v == nil || v.UID != "one" || !v.Spec.Domain.CPU.IsolateEmulatorThread {
		t.Errorf("VMI %+v, error %v", v, err)
	}
	for name, pod := range map[string]*corev1.Pod{
		"no owner":       {},
		"another kind":   owned("apps/v1", "ReplicaSet", "db"),
		"another group":  owned("example.com/v1", "VirtualMachineInstance", "db"),
		"it is gone":     owned("kubevirt.io/v1alpha3", "VirtualMachineInstance", "old"),
		"no API version": owned("a/b/c", "VirtualMachineInstance", "db"),
	} {
		if v, err := (vmiReader{client}).of(t.Context(), pod); v != nil || err != nil {
			t.Errorf("%s: VMI %+v, error %v", name, v, err)
		}
	}
	for _, action := range client.Actions() {
		if action.GetVerb() != "get" {
			t.Errorf("the agent may get VMIs only, and it did %v", action)
		}
	}
}
