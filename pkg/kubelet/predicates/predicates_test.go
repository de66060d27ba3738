// SPDX-License-Identifier: Apache-2.0

package predicates_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/kubelet/predicates"
)

func list(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func nodeOf(cpu, memory, pods string) *corev1.Node {
	node := &corev1.Node{}
	node.Name, node.Status.Allocatable = "n", list(cpu, memory)
	node.Status.Allocatable[corev1.ResourcePods] = resource.MustParse(pods)
	return node
}

func podOf(cpu, memory string) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: list(cpu, memory)}}}
	return pod
}

// A node says OutOfcpu in the kubelet's words, in thousandths of a CPU.
func ExampleNode_Check() {
	n := predicates.New(nodeOf("16", "64Gi", "110"))
	n.Add(podOf("10", "1Gi"))
	fmt.Println(n.Check(podOf("7500m", "1Gi")))
	// Output: {OutOfcpu Node didn't have enough resource: cpu, requested: 7500, used: 10000, capacity: 16000}
}

// What is exact is for test/conformance/kubelet136 to say; here is what callers rely on besides.
func TestCheckLeavesAllAlone(t *testing.T) {
	n, pod := predicates.New(nodeOf("16", "64Gi", "1")), podOf("10", "1Gi")
	pod.Spec.Containers[0].Resources.Requests["example.com/unknown"] = resource.MustParse("1")
	for range 2 {
		if r := n.Check(pod); r.Reason != "" {
			t.Errorf("refused: %+v", r)
		}
	}
	if _, still := pod.Spec.Containers[0].Resources.Requests["example.com/unknown"]; !still {
		t.Error("Check changed the pod")
	}
	n.Add(pod)
	if r := n.Check(podOf("20", "1Gi")); r.Reason != "OutOfpods" {
		t.Errorf("the second of one pod, too large besides: %+v, want OutOfpods", r)
	}
}

// A pod asks for what its containers do at once, and for its overhead.
func TestWhatAPodAsksFor(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	requests := func(cpu string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: list(cpu, "1Gi")}
	}
	for _, tc := range []struct {
		what   string
		change func(*corev1.PodSpec)
		cpu    string // of the node on which it just fits
	}{
		{"one container", func(*corev1.PodSpec) {}, "8"},
		{"overhead", func(s *corev1.PodSpec) { s.Overhead = list("250m", "0") }, "8250m"},
		{"a smaller init container", func(s *corev1.PodSpec) { s.InitContainers = []corev1.Container{{Resources: requests("7")}} }, "8"},
		{"a larger init container", func(s *corev1.PodSpec) { s.InitContainers = []corev1.Container{{Resources: requests("9")}} }, "9"},
		{"a sidecar", func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Resources: requests("1"), RestartPolicy: &always}}
		}, "9"},
		{"pod-level resources", func(s *corev1.PodSpec) { r := requests("12"); s.Resources = &r }, "12"},
	} {
		pod := podOf("8", "1Gi")
		tc.change(&pod.Spec)
		node := nodeOf(tc.cpu, "64Gi", "110")
		if r := predicates.New(node).Check(pod); r.Reason != "" {
			t.Errorf("%s: %+v on %s CPUs", tc.what, r, tc.cpu)
		}
		less := node.Status.Allocatable[corev1.ResourceCPU]
		less.Sub(resource.MustParse("1m"))
		node.Status.Allocatable[corev1.ResourceCPU] = less
		if r := predicates.New(node).Check(pod); r.Reason != "OutOfcpu" {
			t.Errorf("%s: %+v on 1m less than %s CPUs", tc.what, r, tc.cpu)
		}
	}
}

// Room is how often Check says yes to pods that are alike.
// The kubelet takes a pod whose device it does not have, and kube-scheduler does not bind it there.
func TestMissing(t *testing.T) {
	for name, test := range map[string]struct {
		asks, amount string
		want         corev1.ResourceName
	}{
		"what nobody has":            {"example.com/vf", "1", "example.com/vf"},
		"what KubeVirt brings":       {"devices.kubevirt.io/kvm", "1", ""},
		"none of it":                 {"example.com/vf", "0", ""},
		"what the kubelet counts":    {"hugepages-1Gi", "1Gi", ""},
		"what every node has":        {"cpu", "1", ""},
		"a device that the node has": {"example.com/gpu", "9", ""},
	} {
		node := nodeOf("16", "64Gi", "110")
		node.Status.Allocatable["example.com/gpu"] = resource.MustParse("1")
		pod := podOf("3", "1Gi")
		pod.Spec.Containers[0].Resources.Requests[corev1.ResourceName(test.asks)] = resource.MustParse(test.amount)
		if got := predicates.New(node).Missing(pod); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestRoom(t *testing.T) {
	for name, test := range map[string]struct {
		cpu, memory, pods string // of the node
		asks              *corev1.Pod
		want              int
	}{
		"by CPUs":               {"16", "64Gi", "110", podOf("3", "1Gi"), 4},
		"by memory":             {"16", "8Gi", "110", podOf("2", "3Gi"), 2},
		"by the number of pods": {"16", "64Gi", "3", podOf("1", "1Gi"), 2},
		"by none, it is full":   {"3", "64Gi", "110", podOf("2", "1Gi"), 0},
		"a pod without amounts": {"16", "64Gi", "5", &corev1.Pod{}, 4},
		"more than there is":    {"16", "64Gi", "110", podOf("17", "1Gi"), 0},
	} {
		n := predicates.New(nodeOf(test.cpu, test.memory, test.pods))
		n.Add(podOf("2", "1Gi"))
		if got := n.Room(test.asks); got != test.want {
			t.Errorf("%s: room for %d, want %d", name, got, test.want)
		}
		for range test.want {
			if r := n.Check(test.asks); r.Reason != "" {
				t.Errorf("%s: refused: %+v", name, r)
			}
			n.Add(test.asks)
		}
		if r := n.Check(test.asks); r.Reason == "" {
			t.Errorf("%s: Check takes one more", name)
		}
	}
}
