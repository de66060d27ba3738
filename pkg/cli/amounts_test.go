// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// nodeOffering is the Node object of n1, which has these amounts for pods.
func nodeOffering(cpu, memory, pods string) corev1.Node {
	return corev1.Node{TypeMeta: nodeKind, ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{
		Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
			corev1.ResourcePods: resource.MustParse(pods)}}}
}

// What the kubelet checks after it has granted CPUs.
func TestAmounts(t *testing.T) {
	overhead := podAsking("overhead", "n1", "13")
	overhead.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")}
	critical := podAsking("critical", "n1", "6")
	critical.Spec.Priority = new(int32)
	*critical.Spec.Priority = 2_000_000_000
	elsewhere := podAsking("elsewhere", "n1", "2")
	elsewhere.Spec.NodeSelector = map[string]string{"zone": "b"}
	web := podAsking("web", "n1", "100m")
	web.Spec.HostNetwork = true
	web.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80}}
	other := *web.DeepCopy()
	other.Name, other.UID = "other", "other"
	for name, test := range map[string]struct {
		node corev1.Node
		pods []corev1.Pod
		want string
	}{
		"shared pods take of the CPUs too": {nodeOffering("14", "32Gi", "110"), []corev1.Pod{podAsking("a", "n1", "2500m"), podAsking("b", "n1", "12")}, "n1[] OutOfcpu"},
		"the topology manager is asked first": {nodeOffering("14", "32Gi", "110"), []corev1.Pod{podAsking("a", "n1", "6"), podAsking("b", "n1", "16")},
			"n1[c0=1-3,9-11] TopologyAffinityError"},
		"a refused pod gives its CPUs back": {nodeOffering("14", "2Gi", "110"), []corev1.Pod{podAsking("a", "n1", "2", "2", "2"), podAsking("b", "n1", "2")},
			"OutOfmemory n1[c0=1,9]"},
		"overhead counts":           {nodeOffering("14", "32Gi", "110"), []corev1.Pod{overhead}, "OutOfcpu"},
		"pods before CPUs":          {nodeOffering("1", "32Gi", "1"), []corev1.Pod{podAsking("a", "n1", "500m"), podAsking("b", "n1", "2")}, "n1[] OutOfpods"},
		"others would be evicted":   {nodeOffering("8", "32Gi", "110"), []corev1.Pod{podAsking("a", "n1", "4"), critical}, "n1[c0=1-2,9-10] NotExact"},
		"the node's labels":         {nodeOffering("14", "32Gi", "110"), []corev1.Pod{elsewhere}, "NodeAffinity"},
		"ports of the node":         {nodeOffering("14", "32Gi", "110"), []corev1.Pod{web, other}, "n1[] NodePorts"},
		"the next node has no Node": {nodeOffering("1", "32Gi", "110"), []corev1.Pod{podAsking("a", "", "2")}, "n2[c0=1,9]"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []any{reportOf(t, "n1", eightCores, "restricted", nil), reportOf(t, "n2", eightCores, "restricted", nil), test.node}
			for _, pod := range test.pods {
				objects = append(objects, pod)
			}
			_, out, errs := run(t, stream(t, objects...), "fit", "-f", "-", "-o", "json")
			if got := brief(t, out); got != test.want || errs != "" {
				t.Errorf("got %q, want %q; error %q; %s", got, test.want, errs, out)
			}
		})
	}
}

func TestAmountsOfTheCluster(t *testing.T) {
	running, coming := podAsking("running", "n1", "3500m"), podAsking("coming", "n1", "2")
	running.Status.Phase = corev1.PodRunning
	cluster := Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", eightCores, "restricted", nil)},
		Nodes: []corev1.Node{nodeOffering("8", "32Gi", "110")}, Pods: []corev1.Pod{running, coming}}
	_, out, errs := runIn(t, nil, cluster, stream(t, podAsking("new", "", "4")), "fit", "-f", "-", "-o", "json")
	if want := "requested: 4000, used: 5500, capacity: 8000"; !strings.Contains(out, want) || brief(t, out) != "OutOfcpu" {
		t.Errorf("want %q in %s; error %q", want, out, errs)
	}
}

func TestBadNodes(t *testing.T) {
	bare := nodeOffering("8", "32Gi", "110")
	bare.Status.Allocatable = nil
	for _, test := range []struct {
		objects []any
		want    string
	}{
		{[]any{bare}, "-:1: Node n1: status.allocatable is missing"},
		{[]any{nodeOffering("8", "1Gi", "1"), nodeOffering("8", "1Gi", "1")}, "-:2: Node n1: a second Node of this name"},
		{[]any{nodeOffering("8", "1Gi", "1"), podAsking("a", "", "2")}, "no NodeCPU objects; add them"},
	} {
		code, _, errs := run(t, stream(t, test.objects...), "fit", "-f", "-")
		if want := strings.Replace(test.want, "-:", "standard input:", 1); code != exitError || !strings.Contains(errs, want) {
			t.Errorf("exit code %d, error %q, want %q", code, errs, want)
		}
	}
}
