package kubeletcpu

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func container(name, cpu, memory string) corev1.Container {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}
}

func TestPodOf(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	sidecar := container("log", "200m", "64M")
	sidecar.RestartPolicy = &always
	pod := corev1.Pod{}
	pod.Name = "vm"
	pod.Spec.InitContainers = []corev1.Container{container("prepare", "2", "64M"), sidecar}
	pod.Spec.Containers = []corev1.Container{container("compute", "8000m", "1Gi"), container("half", "1500m", "1Gi")}

	p := PodOf(&pod)
	if got, want := p.String(), "vm: init prepare 2, sidecar log shared, compute 8, half shared"; got != want || !p.Exclusive() || !p.Guaranteed {
		t.Errorf("got %s, %+v, want %s", got, p, want)
	}

	level := pod.DeepCopy()
	level.Spec.Resources = &pod.Spec.Containers[0].Resources
	if p := PodOf(level); p.Exclusive() || !p.Guaranteed || !p.PodLevelResources {
		t.Errorf("pod-level resources: %+v asks for exclusive CPUs, or is not Guaranteed", p)
	}

	burstable := pod.DeepCopy()
	burstable.Spec.Containers[1].Resources.Limits = nil
	if p := PodOf(burstable); p.Exclusive() || p.Guaranteed {
		t.Errorf("burstable: %+v asks for exclusive CPUs", p)
	}
	burstable.Status.QOSClass = corev1.PodQOSGuaranteed
	if p := PodOf(burstable); !p.Exclusive() {
		t.Errorf("the class in the status was not believed: %+v", p)
	}
}

func TestPeak(t *testing.T) {
	for _, tc := range []struct {
		containers []Container
		want       int
	}{
		{[]Container{{CPUs: 8}, {CPUs: 4}}, 12},
		{[]Container{{Kind: Init, CPUs: 9}, {Kind: Init, CPUs: 3}, {CPUs: 8}}, 9},
		{[]Container{{Kind: Init, CPUs: 9}, {Kind: Sidecar, CPUs: 2}, {CPUs: 8}}, 10},
		{[]Container{{Kind: Sidecar, CPUs: 2}, {Kind: Init, CPUs: 9}, {CPUs: 8}}, 11},
	} {
		if got := (&Pod{Containers: tc.containers}).peak(); got != tc.want {
			t.Errorf("peak of %v is %d, want %d", tc.containers, got, tc.want)
		}
	}
}
