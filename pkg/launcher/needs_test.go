// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func restartable(c corev1.Container) corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	c.RestartPolicy = &always
	return c
}

// The containers are those that KubeVirt makes for a dedicated VM, with its defaults.
func TestNeedsOf(t *testing.T) {
	hook := Share{Container: "hook-sidecar-0", Milli: 200}
	guest := []Share{{Container: "compute", CPUs: 2}}
	for _, tc := range []struct {
		name     string
		change   func(pod *corev1.Pod)
		want     Needs
		fraction int64
	}{
		{"a hook sidecar", nil, Needs{Exclusive: guest, Shared: []Share{hook}, ExclusiveCPUs: 2, Milli: 2200}, 200},
		{"console log and image volume", func(pod *corev1.Pod) {
			pod.Spec.InitContainers = []corev1.Container{
				restartable(corev1.Container{Name: "guest-console-log", Resources: amounts("15m", "60M")}),
				{Name: "volumerootdisk", Resources: amounts("10m", "40M")},
			}
		}, Needs{Exclusive: guest, Shared: []Share{{Container: "guest-console-log", Milli: 15}, hook}, ExclusiveCPUs: 2, Milli: 2215}, 215},
		{"container disk as a container, virtiofs", func(pod *corev1.Pod) {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "volumerootdisk", Resources: amounts("10m", "40M")},
				corev1.Container{Name: "virtiofs-data", Resources: amounts("100m", "80M")})
		}, Needs{Exclusive: guest, Shared: []Share{hook, {Container: "volumerootdisk", Milli: 10}, {Container: "virtiofs-data", Milli: 100}}, ExclusiveCPUs: 2, Milli: 2310}, 310},
		{"the sidecar overridden with a whole CPU", func(pod *corev1.Pod) {
			pod.Spec.Containers[1].Resources = amounts("1", "64M")
		}, Needs{Exclusive: append(guest, Share{Container: "hook-sidecar-0", CPUs: 1}), ExclusiveCPUs: 3, Milli: 3000}, 0},
		{"an init container that needs more than all others", func(pod *corev1.Pod) {
			pod.Spec.InitContainers = []corev1.Container{{Name: "big", Resources: amounts("3", "1Gi")}}
		}, Needs{Exclusive: append([]Share{{Container: "big", CPUs: 3}}, guest...), Shared: []Share{hook}, ExclusiveCPUs: 3, Milli: 3000}, 0},
		{"an init container beside a sidecar that runs already", func(pod *corev1.Pod) {
			pod.Spec.InitContainers = []corev1.Container{
				restartable(corev1.Container{Name: "log", Resources: amounts("2", "1Gi")}),
				{Name: "big", Resources: amounts("4", "1Gi")},
			}
		}, Needs{Exclusive: append([]Share{{Container: "log", CPUs: 2}, {Container: "big", CPUs: 4}}, guest...), Shared: []Share{hook},
			ExclusiveCPUs: 6, Milli: 6000}, 0},
		{"pod overhead", func(pod *corev1.Pod) {
			pod.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}
		}, Needs{Exclusive: guest, Shared: []Share{hook}, ExclusiveCPUs: 2, Milli: 2450}, 450},
		{"Burstable", func(pod *corev1.Pod) { pod.Spec.Containers[1].Resources = corev1.ResourceRequirements{} },
			Needs{Shared: []Share{{Container: "compute", Milli: 2000}}, Milli: 2000}, 2000},
	} {
		got := NeedsOf(launcherPod(tc.change))
		if !reflect.DeepEqual(got, tc.want) || got.Fraction() != tc.fraction {
			t.Errorf("%s: %+v, fraction %d; want %+v, %d", tc.name, got, got.Fraction(), tc.want, tc.fraction)
		}
	}
}

func TestRoleOf(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(pod *corev1.Pod)
		want   Role
	}{
		{"a VM's first pod", nil, Start},
		{"a migration's target", func(pod *corev1.Pod) { pod.Labels["kubevirt.io/migrationJobUID"] = "m" }, MigrationTarget},
		{"a target by its annotation", func(pod *corev1.Pod) { pod.Annotations = map[string]string{"kubevirt.io/migrationJobUID": "m"} }, MigrationTarget},
		{"a hotplugged volume", func(pod *corev1.Pod) { pod.Labels["kubevirt.io"] = "hotplug-disk" }, Attachment},
		{"a hotplugged volume that moves", func(pod *corev1.Pod) {
			pod.Labels = map[string]string{"kubevirt.io": "hotplug-disk", "kubevirt.io/migrationJobUID": "m"}
		}, Attachment},
		{"another component of KubeVirt", func(pod *corev1.Pod) { pod.Labels["kubevirt.io"] = "virt-handler" }, NoRole},
		{"no labels", func(pod *corev1.Pod) { pod.Labels = nil }, NoRole},
	} {
		pod := launcherPod(tc.change)
		if got := RoleOf(pod); got != tc.want {
			t.Errorf("%s: %s; want %s", tc.name, got, tc.want)
		}
		if _, ok := Of(pod); ok != (tc.want == Start || tc.want == MigrationTarget) {
			t.Errorf("%s: taken for a launcher pod: %t", tc.name, ok)
		}
	}
}

func TestPlugged(t *testing.T) {
	source := launcherPod(func(pod *corev1.Pod) { pod.UID = "s" })
	target := func(cpus string) *corev1.Pod {
		return launcherPod(func(pod *corev1.Pod) {
			pod.UID, pod.Labels["kubevirt.io/migrationJobUID"] = "t", "m"
			pod.Spec.Containers[0].Resources = amounts(cpus, "1Gi")
		})
	}
	if more, ok := Plugged(source, target("4")); more != 2 || !ok {
		t.Errorf("from 2 to 4 CPUs: %d, %t", more, ok)
	}
	if more, ok := Plugged(source, target("2")); more != 0 || !ok {
		t.Errorf("a mere move: %d, %t", more, ok)
	}
	other := launcherPod(func(pod *corev1.Pod) { pod.UID, pod.OwnerReferences = "o", nil })
	for name, pods := range map[string][2]*corev1.Pod{
		"the target is none": {source, source}, "another VM's": {other, target("4")}, "itself": {target("4"), target("4")},
	} {
		if _, ok := Plugged(pods[0], pods[1]); ok {
			t.Errorf("%s: taken for a hotplug", name)
		}
	}
}
