// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/kubelet/predicates"
)

// TestFit holds pkg/kubelet/predicates to the kubelet's own predicates, for nodes that fill up with pods of every kind.
func (k Kubelet) TestFit(t *testing.T) {
	d := newDice(1)
	seen := map[string]int{}
	for range 1000 {
		node := d.anyNode()
		ours := predicates.New(node)
		var present []*corev1.Pod
		for i := range 12 {
			pod := d.fitPod(fmt.Sprintf("p%d", i))
			got := ours.Check(pod)
			want := k.fit(node, present, pod, got)
			if got != want {
				t.Fatalf("the kubelet says %+v, we say %+v, of %+v on %+v with %+v", want, got, pod, node, present)
			}
			if seen[got.Reason]++; got.Reason == "" {
				ours.Add(pod)
				present = append(present, pod)
			}
		}
	}
	for _, reason := range []string{"", "OutOfpods", "OutOfcpu", "OutOfmemory", "OutOfephemeral-storage", "OutOfexample.com/device",
		"OutOfhugepages-2Mi", "NodeAffinity", "NodeName", "NodePorts", "TaintToleration", predicates.ReasonEvicts} {
		if seen[reason] < 10 {
			t.Errorf("reason %q was met %d times only", reason, seen[reason])
		}
	}
	t.Logf("kubelet 1.%d: outcomes %v", k.Minor, seen)
}

// fit is what the kubelet says. It looks at extended resources and huge pages in no order, and may have several
// answers: expected, if that is one of them.
func (k Kubelet) fit(node *corev1.Node, others []*corev1.Pod, pod *corev1.Pod, expected predicates.Refusal) (r predicates.Refusal) {
	for range 100 {
		var evicts bool
		if r, evicts = k.Fit(node, others, pod); evicts && expected.Reason == predicates.ReasonEvicts {
			return expected
		}
		if r == expected || !strings.Contains(r.Message, "example.com/device") && !strings.Contains(r.Message, "hugepages") {
			return r
		}
	}
	return r
}

func (d dice) anyNode() *corev1.Node {
	node := &corev1.Node{}
	node.Name = "n"
	node.Labels = map[string]string{"zone": pickOne(d, "a", "b")}
	if d.oneIn(4) {
		node.Spec.Taints = []corev1.Taint{{Key: "k", Value: "v", Effect: pickOne(d, corev1.TaintEffectNoExecute, corev1.TaintEffectNoSchedule)}}
	}
	node.Status.Allocatable = corev1.ResourceList{
		corev1.ResourcePods:             resource.MustParse(pickOne(d, "3", "110")),
		corev1.ResourceCPU:              resource.MustParse(pickOne(d, "15500m", "8", "64")),
		corev1.ResourceMemory:           resource.MustParse(pickOne(d, "8Gi", "64Gi")),
		corev1.ResourceEphemeralStorage: resource.MustParse(pickOne(d, "10Gi", "1Ti")),
		"hugepages-2Mi":                 resource.MustParse(pickOne(d, "0", "1Gi")),
	}
	if !d.oneIn(3) {
		node.Status.Allocatable["example.com/device"] = resource.MustParse(pickOne(d, "0", "2"))
	}
	return node
}

// fitPod is a pod of which much matters for its fit.
func (d dice) fitPod(name string) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace = name, "default"
	for range 1 + d.IntN(2) {
		pod.Spec.Containers = append(pod.Spec.Containers, d.fitContainer())
	}
	for d.oneIn(3) {
		c := d.fitContainer()
		if d.oneIn(2) {
			always := corev1.ContainerRestartPolicyAlways
			c.RestartPolicy = &always
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	if d.oneIn(4) {
		pod.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m"), corev1.ResourceMemory: resource.MustParse("512Mi")}
	}
	if d.oneIn(6) {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(pickOne(d, "4", "9")), corev1.ResourceMemory: resource.MustParse("2Gi")}
		pod.Spec.Resources = &corev1.ResourceRequirements{Requests: list, Limits: list}
	}
	if d.oneIn(6) {
		pod.Spec.NodeSelector = map[string]string{"zone": "a"}
	}
	if d.oneIn(2) {
		pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	if d.oneIn(2) {
		pod.Spec.NodeName = pickOne(d, "n", "n", "n", "n", "n", "other")
	}
	switch d.IntN(12) {
	case 0:
		priority := int32(2_000_001_000)
		pod.Spec.Priority = &priority
	case 1:
		pod.Annotations = map[string]string{"kubernetes.io/config.source": pickOne(d, "file", "api")}
	}
	return pod
}

func (d dice) fitContainer() corev1.Container {
	list := corev1.ResourceList{}
	for _, one := range []struct {
		name    corev1.ResourceName
		in      int
		amounts []string
	}{
		{corev1.ResourceCPU, 1, []string{"0", "2", "500m", "2", "6"}}, {corev1.ResourceMemory, 2, []string{"1Gi", "3Gi"}},
		{corev1.ResourceEphemeralStorage, 5, []string{"2Gi", "6Gi"}}, {"hugepages-2Mi", 10, []string{"0", "600Mi"}},
		{"example.com/device", 8, []string{"1", "2"}},
	} {
		if d.oneIn(one.in) {
			list[one.name] = resource.MustParse(pickOne(d, one.amounts...))
		}
	}
	c := corev1.Container{Resources: corev1.ResourceRequirements{Requests: list}}
	if d.oneIn(6) {
		c.Ports = []corev1.ContainerPort{{HostPort: pickOne[int32](d, 0, 80, 81), HostIP: pickOne(d, "", "10.0.0.1", "10.0.0.2"),
			Protocol: pickOne(d, "", corev1.ProtocolTCP, corev1.ProtocolUDP)}}
	}
	return c
}
