// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
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

	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
	pod.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}

	p := PodOf(&pod)
	if got, want := p.String(), "vm: init prepare 2, sidecar log shared, compute 8, half shared"; got != want || !p.Exclusive() || !p.Guaranteed {
		t.Errorf("got %s, %+v, want %s", got, p, want)
	}

	level := pod.DeepCopy()
	level.Spec.Resources = &pod.Spec.Containers[0].Resources
	if p := PodOf(level); p.Exclusive() || !p.Guaranteed || !p.PodLevelResources {
		t.Errorf("pod-level resources: %+v asks for exclusive CPUs, or is not Guaranteed", p)
	}

	want := PodLevel{CPUs: 8, Containers: p.Containers}
	if p := PodOf(level); p.PodLevel == nil || !reflect.DeepEqual(*p.PodLevel, want) {
		t.Errorf("pod-level resources: got %+v, want %+v", p.PodLevel, want)
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
		{nil, 0},
		{[]Container{{CPUs: 8}, {CPUs: 4}}, 12},
		{[]Container{{Kind: Sidecar, CPUs: 2}, {Kind: Init, CPUs: 4}, {CPUs: 1}}, 6},
		{[]Container{{Kind: Init, CPUs: 9}, {Kind: Init, CPUs: 3}, {CPUs: 8}}, 9},
		{[]Container{{Kind: Init, CPUs: 9}, {Kind: Sidecar, CPUs: 2}, {CPUs: 8}}, 10},
		{[]Container{{Kind: Sidecar, CPUs: 2}, {Kind: Init, CPUs: 9}, {CPUs: 8}}, 11},
	} {
		if got := (&Pod{Containers: tc.containers}).PeakCPUs(); got != tc.want {
			t.Errorf("peak of %v is %d, want %d", tc.containers, got, tc.want)
		}
	}
}

// A pod with pod-level resources is one to Admit and AdmitAfter only where the gate is on.
func TestPodLevelGate(t *testing.T) {
	n := newNode(t, twoNUMANodes, "", topologymanager.PolicySingleNUMANode, topologymanager.ScopePod, "0")
	p := &Pod{Name: "vm", Guaranteed: true, PodLevelResources: true, Containers: []Container{{Name: "a"}, {Name: "b"}},
		PodLevel: &PodLevel{CPUs: 4, Containers: []Container{{Name: "a", CPUs: 3}, {Name: "b"}}}}
	for _, tc := range []struct {
		on           bool
		scope        string
		alone, after string
	}{
		{false, topologymanager.ScopePod, "admitted", "admitted"},
		{true, topologymanager.ScopePod, "admitted: (pod) 8-9,24-25, a 8-9,24, b 25", "admitted: (pod) 10-11,26-27, a 10-11,26, b 27"},
		{true, topologymanager.ScopeContainer, "admitted: a 8-9,24", "admitted: a 10,25-26"},
	} {
		n.PodLevelResourceManagers, n.TopologyManager.Scope = tc.on, tc.scope
		n.Shared = parse(t, "0,8-15,24-31")
		d := Admit(n, p)
		if got := d.String(); got != tc.alone || n.Exclusive(p) != tc.on {
			t.Errorf("gate %v, scope %s: %s, want %s; exclusive %v", tc.on, tc.scope, got, tc.alone, n.Exclusive(p))
		}
		next := n.Granting(d.Grants)
		if got := Admit(&next, p).String(); got != tc.after {
			t.Errorf("gate %v, scope %s, the next one: %s, want %s", tc.on, tc.scope, got, tc.after)
		}
		if after := next.Releasing(d.Grants, &Held{}); after.Shared != n.Shared || d.Shared != next.Shared {
			t.Errorf("gate %v, scope %s: shared pool %s after it has gone, want %s", tc.on, tc.scope, after.Shared, n.Shared)
		}
		if got := AdmitAfter(n, []*Pod{p}, p); got.Verdict != Admitted || got.Grants != nil {
			t.Errorf("gate %v, scope %s, beside another one: %s, want one without CPUs, or with some that the order decides", tc.on, tc.scope, got)
		}
	}
}

// What a pod holds is what is allocated to it, in each state of a resize and for each kind of container.
func TestResizeStates(t *testing.T) {
	amount := func(cpu string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("1Gi")}
	}
	always := corev1.ContainerRestartPolicyAlways
	for _, test := range []struct {
		state           string
		spec, allocated string // allocated is empty for a container without status
		reason          string // of condition PodResizePending
		want            int
	}{
		{state: "not admitted yet", spec: "2", want: 2},
		{state: "no resize", spec: "2", allocated: "2", want: 2},
		{state: "proposed, not seen by the kubelet", spec: "4", allocated: "2", want: 2},
		{state: "deferred", spec: "4", allocated: "2", reason: corev1.PodReasonDeferred, want: 2},
		{state: "infeasible", spec: "2", allocated: "1500m", reason: corev1.PodReasonInfeasible, want: 0},
		{state: "infeasible, to a fraction", spec: "1500m", allocated: "2", reason: corev1.PodReasonInfeasible, want: 2},
		{state: "in progress", spec: "4", allocated: "4", want: 4},
		{state: "done", spec: "4", allocated: "4", want: 4},
	} {
		for _, kind := range []string{"app", "sidecar", "init", "pod-level"} {
			pod := &corev1.Pod{Status: corev1.PodStatus{QOSClass: corev1.PodQOSGuaranteed}}
			if test.reason != "" {
				pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: test.reason}}
			}
			resized := container("resized", test.spec, "1Gi")
			var statuses []corev1.ContainerStatus
			if test.allocated != "" {
				statuses = []corev1.ContainerStatus{{Name: "another", AllocatedResources: amount("7")}, {Name: "resized", AllocatedResources: amount(test.allocated)}}
			}
			switch kind {
			case "sidecar":
				resized.RestartPolicy = &always
				fallthrough
			case "init":
				pod.Spec.InitContainers = []corev1.Container{resized}
				pod.Status.InitContainerStatuses = statuses
			case "pod-level":
				pod.Spec.Resources = &resized.Resources
				if test.allocated != "" {
					pod.Status.AllocatedResources = amount(test.allocated)
				}
				fallthrough
			default:
				pod.Spec.Containers = []corev1.Container{resized}
				pod.Status.ContainerStatuses = statuses
			}
			p := PodOf(pod)
			got := p.Containers[0].CPUs
			if kind == "pod-level" {
				got = p.PodLevel.CPUs
				if in := p.PodLevel.Containers[0].CPUs; in != got {
					t.Errorf("%s, %s: the container holds %d CPUs, and the pod %d", test.state, kind, in, got)
				}
			}
			if got != test.want {
				t.Errorf("%s, %s: holds %d CPUs, want %d", test.state, kind, got, test.want)
			}
		}
	}
}
