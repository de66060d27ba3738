// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// The report is of 8 CPUs, 2 of them reserved, and of a kubelet v1.36.3+k3s1.
func TestContradiction(t *testing.T) {
	amounts := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	memory := func(bytes int64) v1alpha1.NUMAMemory {
		return v1alpha1.NUMAMemory{Resources: []v1alpha1.MemoryResource{{Type: "hugepages-1Gi", Total: 1 << 30}, {Type: "memory", Total: bytes}}}
	}
	for name, test := range map[string]struct {
		change func(nc *v1alpha1.NodeCPU, node *corev1.Node)
		want   string
	}{
		"a Node that says nothing":    {func(*v1alpha1.NodeCPU, *corev1.Node) {}, ""},
		"the same kubelet":            {func(_ *v1alpha1.NodeCPU, node *corev1.Node) { node.Status.NodeInfo.KubeletVersion = "v1.36.3+k3s1" }, ""},
		"another kubelet":             {func(_ *v1alpha1.NodeCPU, node *corev1.Node) { node.Status.NodeInfo.KubeletVersion = "v1.37.2+k3s1" }, "the Node says kubelet version v1.37.2+k3s1, and the report v1.36.3+k3s1"},
		"a report that knows no boot": {func(_ *v1alpha1.NodeCPU, node *corev1.Node) { node.Status.NodeInfo.BootID = "b" }, ""},
		"the same boot": {func(nc *v1alpha1.NodeCPU, node *corev1.Node) {
			nc.Status.BootID = "b"
			node.Status.NodeInfo.BootID = "b"
		}, ""},
		"another boot": {func(nc *v1alpha1.NodeCPU, node *corev1.Node) {
			nc.Status.BootID = "a"
			node.Status.NodeInfo.BootID = "b"
		}, "boot ID b"},
		"as many CPUs":                    {func(_ *v1alpha1.NodeCPU, node *corev1.Node) { node.Status.Capacity = amounts("8", "1Gi") }, ""},
		"a capacity without the reserved": {func(_ *v1alpha1.NodeCPU, node *corev1.Node) { node.Status.Capacity = amounts("6", "1Gi") }, ""},
		"more CPUs":                       {func(_ *v1alpha1.NodeCPU, node *corev1.Node) { node.Status.Capacity = amounts("16", "1Gi") }, "the Node says 16 CPUs, and the report 8"},
		"fewer CPUs":                      {func(_ *v1alpha1.NodeCPU, node *corev1.Node) { node.Status.Capacity = amounts("5", "1Gi") }, "the Node says 5 CPUs"},
		"as much memory, in another rounding": {func(nc *v1alpha1.NodeCPU, node *corev1.Node) {
			nc.Status.MemoryManager.NUMANodes = []v1alpha1.NUMAMemory{memory(32 << 30), memory(32<<30 - 4096)}
			node.Status.Capacity = amounts("8", "64Gi")
		}, ""},
		"more memory": {func(nc *v1alpha1.NodeCPU, node *corev1.Node) {
			nc.Status.MemoryManager.NUMANodes = []v1alpha1.NUMAMemory{memory(32 << 30), memory(32 << 30)}
			node.Status.Capacity = amounts("8", "96Gi")
		}, "bytes of memory"},
	} {
		nc := report()
		node := &corev1.Node{}
		test.change(nc, node)
		r := Read(nc)
		got := r.Contradiction(node)
		if got != test.want && (test.want == "" || !strings.Contains(got, test.want)) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		if r.Same(Read(report())) != (nc.Status.BootID == "" && nc.Status.MemoryManager.NUMANodes == nil) {
			t.Errorf("%s: a report says another thing of the machine if and only if it is another report", name)
		}
	}
}
