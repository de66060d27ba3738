// SPDX-License-Identifier: Apache-2.0

package vms

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

func TestPodsOf(t *testing.T) {
	pods := cache.NewIndexer(cache.MetaNamespaceKeyFunc, PodIndexers())
	add := func(namespace, name, label, vmi string) {
		t.Helper()
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name,
			Labels: map[string]string{"kubevirt.io": label}, Annotations: map[string]string{"kubevirt.io/domain": vmi}}}
		if err := pods.Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	add("vms", "source", "virt-launcher", "demo")
	add("vms", "target", "virt-launcher", "demo")
	add("vms", "another", "virt-launcher", "other")
	add("others", "namesake", "virt-launcher", "demo")
	add("vms", "no-launcher", "hotplug-disk", "demo")
	add("vms", "nameless", "virt-launcher", "")
	for name, want := range map[string]int{"demo": 2, "other": 1, "": 0, "nobody": 0} {
		found, err := PodsOf(pods, types.NamespacedName{Namespace: "vms", Name: name})
		if err != nil || len(found) != want {
			t.Errorf("VMI %q has %d launcher pods, error %v; want %d", name, len(found), err, want)
		}
	}
	without := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	if _, err := PodsOf(without, demo); err == nil {
		t.Error("an informer without the index gives no error")
	}
}
