// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// TestQOS holds our reading of QoS class and pod-level resources to the kubelet's on pods of every kind.
func (k Kubelet) TestQOS(t *testing.T) {
	d := newDice(1)
	classes := map[corev1.PodQOSClass]int{}
	levels := 0
	for range 20000 {
		pod := d.anyPod()
		class := k.QOS(pod)
		p := admission.PodOf(pod)
		level := resourcehelper.IsPodLevelResourcesSet(pod)
		if k.Minor >= 37 && pod.Spec.Resources != nil && !level && pod.Status.QOSClass == "" {
			// Where kubelets differ, ours is the older reading.
			if byContainers := withoutResources(pod); class != k.QOS(byContainers) || p.Guaranteed {
				t.Fatalf("the kubelet says %s, and %s if spec.resources is not empty but missing; we say Guaranteed: %v, of %+v",
					class, k.QOS(byContainers), p.Guaranteed, pod)
			}
			continue
		}
		if p.Guaranteed != (class == corev1.PodQOSGuaranteed) {
			t.Fatalf("the kubelet says %s, we say Guaranteed: %v, of %+v", class, p.Guaranteed, pod)
		}
		if level != p.PodLevelResources {
			t.Fatalf("pod-level resources: the kubelet says %v, we say %v, of %+v", level, p.PodLevelResources, pod)
		}
		classes[class]++
		if p.PodLevelResources {
			levels++
		}
	}
	for _, class := range []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
		if classes[class] < 500 || levels < 500 {
			t.Errorf("%d pods of class %s and %d with pod-level resources are too few to tell", classes[class], class, levels)
		}
	}
}

func withoutResources(pod *corev1.Pod) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Spec.Resources = nil
	return pod
}

func (d dice) anyPod() *corev1.Pod {
	pod := &corev1.Pod{}
	if d.oneIn(20) {
		pod.Status.QOSClass = pickOne(d, corev1.PodQOSGuaranteed, corev1.PodQOSBurstable)
	}
	for range 1 + d.IntN(2) {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Resources: d.resources()})
	}
	for d.oneIn(4) {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Resources: d.resources()})
	}
	if d.oneIn(6) {
		level := d.resources()
		pod.Spec.Resources = &level
	}
	return pod
}

func (d dice) resources() corev1.ResourceRequirements {
	limits := d.resourceList()
	switch d.IntN(6) {
	case 0:
		return corev1.ResourceRequirements{Limits: limits}
	case 1:
		return corev1.ResourceRequirements{Requests: d.resourceList(), Limits: limits}
	case 2:
		return corev1.ResourceRequirements{}
	}
	return corev1.ResourceRequirements{Requests: limits.DeepCopy(), Limits: limits}
}

func (d dice) resourceList() corev1.ResourceList {
	list := corev1.ResourceList{}
	if !d.oneIn(8) {
		list[corev1.ResourceCPU] = resource.MustParse(pickOne(d, "2", "2", "2000m", "1500m", "0"))
	}
	if !d.oneIn(8) {
		list[corev1.ResourceMemory] = resource.MustParse(pickOne(d, "1Gi", "1Gi", "1024Mi", "0"))
	}
	if d.oneIn(8) {
		list[pickOne[corev1.ResourceName](d, "hugepages-2Mi", "example.com/device")] = resource.MustParse("2")
	}
	return list
}

// TestExclusive holds the number of exclusive CPUs to what the kubelet grants.
func (k Kubelet) TestExclusive(t *testing.T) {
	for _, tc := range []struct {
		cpu  string
		want int
	}{{"2", 2}, {"2000m", 2}, {"1500m", 0}, {"2.0", 2}, {"500m", 0}, {"3e0", 3}, {"2000000u", 2}, {"2000000001n", 0}} {
		s, err := parseScenario("machine 1 sockets x 1 numa x 8 cores x 1 threads\nreserved 0\nadd p: c shared")
		if err != nil {
			t.Fatal(err)
		}
		kubelet, err := k.Start(s.config())
		if err != nil {
			t.Fatal(err)
		}
		pod := s.steps[0].spec(0)
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(tc.cpu), corev1.ResourceMemory: resource.MustParse("1Gi")}
		pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
		granted := kubelet.Add(pod).Granted()
		if got := admission.PodOf(pod).Containers[0].CPUs; got != tc.want || granted.Len() != tc.want {
			t.Errorf("cpu %s: we say %d exclusive CPUs, the kubelet grants %d, want %d", tc.cpu, got, granted.Len(), tc.want)
		}
	}
}

// TestPodLevel holds what the containers of a pod with pod-level resources ask for, under the gate
// PodLevelResourceManagers, to what the kubelet grants.
func (k Kubelet) TestPodLevel(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		list := corev1.ResourceList{}
		if cpu != "" {
			list[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			list[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return list
	}
	for _, tc := range []struct {
		what             string
		requests, limits corev1.ResourceList
		want             int
	}{
		{"both, alike", list("2", "64Mi"), list("2", "64Mi"), 2},
		{"no limit of memory", list("2", "64Mi"), list("2", ""), 0},
		{"no memory", list("2", ""), list("2", ""), 0},
		{"less CPU than the limit", list("2", "64Mi"), list("3", "64Mi"), 0},
		{"less memory than the limit", list("2", "64Mi"), list("2", "65Mi"), 0},
		{"half a CPU", list("500m", "64Mi"), list("500m", "64Mi"), 0},
		{"nothing", nil, nil, 0},
	} {
		s, err := parseScenario("machine 1 sockets x 1 numa x 8 cores x 1 threads\nreserved 0\n" + podLevelGate + "\nadd p pod-level 4: c shared")
		if err != nil {
			t.Fatal(err)
		}
		if err := setGate(true); err != nil {
			t.Fatal(err)
		}
		kubelet, err := k.Start(s.config())
		if err != nil {
			t.Fatal(err)
		}
		pod := s.steps[0].spec(0)
		pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: tc.requests, Limits: tc.limits}
		granted := kubelet.Add(pod).Granted()
		if got := admission.PodOf(pod).PodLevel.Containers[0].CPUs; got != tc.want || granted.Len() != tc.want {
			t.Errorf("%s: we say %d exclusive CPUs, the kubelet grants %d, want %d", tc.what, got, granted.Len(), tc.want)
		}
	}
}
