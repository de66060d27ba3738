// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// amounts is a container's request and limit of CPU and memory, alike.
func amounts(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
}

// launcherPod is a dedicated launcher pod with a compute container of 2 CPUs and a hook sidecar.
func launcherPod(change func(pod *corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "virt-launcher-demo-x7k2p", Namespace: "vms",
			Labels: map[string]string{"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "uid-by-label"},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "example.org/v1", Kind: "VirtualMachineInstance", Name: "other", UID: "uid-of-other"},
				{APIVersion: "kubevirt.io/v1", Kind: "VirtualMachineInstance", Name: "demo", UID: "uid-by-owner"},
			},
		},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"kubevirt.io/cpumanager": "true"},
			Containers: []corev1.Container{
				{Name: "compute", Resources: amounts("2", "2460Mi")},
				{Name: "hook-sidecar-0", Resources: amounts("200m", "64M")},
			},
		},
	}
	if change != nil {
		change(pod)
	}
	return pod
}

func TestOf(t *testing.T) {
	demo := Launcher{VMI: types.NamespacedName{Namespace: "vms", Name: "demo"}, VMIUID: "uid-by-owner", Role: Start, Dedicated: true, Compute: "compute", CPUs: 2}
	with := func(change func(l *Launcher)) Launcher {
		l := demo
		change(&l)
		return l
	}
	for _, tc := range []struct {
		name   string
		change func(pod *corev1.Pod)
		want   Launcher
	}{
		{"as KubeVirt renders it", nil, demo},
		{"KubeVirt up to v1.7", func(pod *corev1.Pod) { pod.Spec.NodeSelector = map[string]string{"cpumanager": "true"} }, demo},
		{"not dedicated", func(pod *corev1.Pod) { pod.Spec.NodeSelector = nil }, with(func(l *Launcher) { l.Dedicated = false })},
		{"the other way round", func(pod *corev1.Pod) { pod.Spec.NodeSelector["kubevirt.io/cpumanager"] = "false" }, with(func(l *Launcher) { l.Dedicated = false })},
		{"no owner", func(pod *corev1.Pod) {
			pod.OwnerReferences, pod.Annotations = nil, map[string]string{"kubevirt.io/domain": "demo"}
		}, with(func(l *Launcher) { l.VMIUID = "uid-by-label" })},
		{"an injected container comes first", func(pod *corev1.Pod) {
			pod.Spec.Containers = append([]corev1.Container{{Name: "istio-proxy", Resources: amounts("1", "64M")}}, pod.Spec.Containers...)
		}, with(func(l *Launcher) { l.Others = []Share{{Container: "istio-proxy", CPUs: 1}} })},
		{"no container named compute", func(pod *corev1.Pod) { pod.Spec.Containers[0].Name = "guest" }, with(func(l *Launcher) { l.Compute = "guest" })},
		{"Burstable", func(pod *corev1.Pod) { pod.Spec.Containers[1].Resources = corev1.ResourceRequirements{} }, with(func(l *Launcher) { l.CPUs = 0 })},
		{"a fraction of a CPU", func(pod *corev1.Pod) { pod.Spec.Containers[0].Resources = amounts("1500m", "1Gi") }, with(func(l *Launcher) { l.CPUs = 0 })},
		{"no containers", func(pod *corev1.Pod) { pod.Spec.Containers = nil }, with(func(l *Launcher) { l.Compute, l.CPUs = "", 0 })},
		{"a migration's target", func(pod *corev1.Pod) { pod.Labels["kubevirt.io/migrationJobUID"] = "m" }, with(func(l *Launcher) { l.Role = MigrationTarget })},
	} {
		if got, ok := Of(launcherPod(tc.change)); !ok || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: Of = %+v, %v; want %+v", tc.name, got, ok, tc.want)
		}
	}
	if got, ok := Of(launcherPod(func(pod *corev1.Pod) { pod.Labels = nil })); ok {
		t.Errorf("a pod without labels is taken for launcher pod %+v", got)
	}
}

func TestProblems(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(pod *corev1.Pod)
		want   []string // in each problem, in order
	}{
		{"fine", nil, nil},
		{"injected without limits", func(pod *corev1.Pod) {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy"})
		}, []string{`container "istio-proxy" has no cpu limit`}},
		{"init container without memory limit", func(pod *corev1.Pod) {
			init := corev1.Container{Name: "disk", Resources: amounts("10m", "40M")}
			delete(init.Resources.Limits, corev1.ResourceMemory)
			pod.Spec.InitContainers = []corev1.Container{init}
		}, []string{`container "disk" has no memory limit`}},
		{"overcommitGuestOverhead", func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Resources.Requests[corev1.ResourceMemory] = resource.MustParse("2Gi")
		}, []string{`container "compute" requests 2Gi of memory and is limited to 2460Mi`}},
		{"a fraction of a CPU", func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Resources = amounts("1500m", "1Gi")
		}, []string{`container "compute" asks for 1500m CPUs`}},
		{"two at once", func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Resources = amounts("1500m", "1Gi")
			pod.Spec.Containers[1].Resources = corev1.ResourceRequirements{}
		}, []string{`container "hook-sidecar-0" has no cpu limit`, `container "compute" asks for 1500m CPUs`}},
		{"pod-level resources", func(pod *corev1.Pod) {
			resources := amounts("3", "4Gi")
			pod.Spec.Resources = &resources
		}, []string{"spec.resources"}},
		{"the API server decided otherwise", func(pod *corev1.Pod) { pod.Status.QOSClass = corev1.PodQOSBurstable }, []string{"QoS class Burstable"}},
		{"no containers", func(pod *corev1.Pod) { pod.Spec.Containers = nil }, []string{"no container"}},
		{"not dedicated", func(pod *corev1.Pod) {
			pod.Spec.NodeSelector = nil
			pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
		}, nil},
	} {
		got := Problems(launcherPod(tc.change))
		if len(got) != len(tc.want) {
			t.Errorf("%s: Problems = %q; want %d with %q", tc.name, got, len(tc.want), tc.want)
			continue
		}
		for i, want := range tc.want {
			if !strings.Contains(got[i], want) || !strings.Contains(got[i], "; ") {
				t.Errorf("%s: problem %q; want %q and a fix", tc.name, got[i], want)
			}
		}
	}
}

func TestSupportProblems(t *testing.T) {
	if problems := SupportProblems(launcherPod(nil)); problems != nil {
		t.Errorf("a pod of a whole and a fractional container has problems %q", problems)
	}
	problems := SupportProblems(launcherPod(func(pod *corev1.Pod) { pod.Spec.Containers[1].Resources = amounts("1", "64M") }))
	if len(problems) != 1 || !strings.Contains(problems[0], `"hook-sidecar-0" asks for a whole number of CPUs and takes exclusive CPUs of its own (1)`) {
		t.Errorf("problems of a whole-number sidecar: %q", problems)
	}
}

func TestDomainName(t *testing.T) {
	if got := DomainName(types.NamespacedName{Namespace: "vms", Name: "demo"}); got != "vms_demo" {
		t.Errorf("DomainName = %q", got)
	}
}
