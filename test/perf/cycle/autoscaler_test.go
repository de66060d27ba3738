// SPDX-License-Identifier: Apache-2.0

package cycle

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Cluster Autoscaler asks PreFilter and Filter of kube-scheduler's default plugins about each node, and adds nodes only for pods
// that no node takes (RunFiltersUntilPassingNode in simulator/clustersnapshot/predicate/plugin_runner.go and
// filterOutSchedulableByPacking in core/podlistprocessor/filter_out_schedulable.go). A ProvisioningRequest of class
// best-effort-atomic-scale-up drops such pods too (filterOutSchedulable in provisioningrequest/besteffortatomic). So the stock
// scheduler of this package stands for the autoscaler here: "" is a pod for which it would add a node.

// pool is a cluster twice: as corepin sees it, and as an autoscaler does.
type pool struct {
	t                   *testing.T
	corepin, autoscaler *cluster
}

// fullPool is one node with 18 of 62 CPUs left, 8 and 10 on the two NUMA nodes.
func fullPool(t *testing.T, size int) *pool {
	t.Helper()
	shipped, err := ShippedConfig()
	if err != nil {
		t.Fatal(err)
	}
	p := &pool{t, newCluster(t, shipped, size), newCluster(t, StockConfig, size)}
	onFirst := func(pod *corev1.Pod) { pod.Spec.NodeSelector[corev1.LabelHostname] = "n0" }
	for i := range 2 {
		for _, c := range []*cluster{p.corepin, p.autoscaler} {
			c.place(vm(fmt.Sprint("resident-", i), 22, onFirst))
		}
	}
	return p
}

// asks returns the nodes that corepin and the autoscaler's simulation give a pod; "" for none.
func (p *pool) asks(pod *corev1.Pod) (corepin, autoscaler string) {
	p.t.Helper()
	choose := func(c *cluster) string {
		host, err := c.Choose(p.t.Context(), pod)
		if err != nil {
			p.t.Fatal(err)
		}
		return host
	}
	return choose(p.corepin), choose(p.autoscaler)
}

// bind tells both of a pod on a node.
func (p *pool) bind(pod *corev1.Pod, node string) *corev1.Pod {
	p.t.Helper()
	bound := pod.DeepCopy()
	bound.Spec.NodeName = node
	for _, c := range []*cluster{p.corepin, p.autoscaler} {
		if err := c.Bound(p.t.Context(), bound); err != nil {
			p.t.Fatal(err)
		}
	}
	return bound
}

func (p *pool) gone(pod *corev1.Pod) {
	p.t.Helper()
	for _, c := range []*cluster{p.corepin, p.autoscaler} {
		if err := c.Gone(p.t.Context(), pod); err != nil {
			p.t.Fatal(err)
		}
	}
}

// placeholder is a pod that only requests CPUs. It is Burstable, so no kubelet grants it any.
func placeholder(cpus int) *corev1.Pod {
	pod := vm("placeholder", cpus)
	pod.Labels = nil
	pod.Status.QOSClass = corev1.PodQOSBurstable
	pod.Spec.Containers = pod.Spec.Containers[:1]
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(fmt.Sprint(cpus))}}
	return pod
}

// The autoscaler counts, so it adds no node for a VM that alignment keeps out.
func TestAnAutoscalerCounts(t *testing.T) {
	corepin, autoscaler := fullPool(t, 1).asks(vm("new", 16))
	if corepin != "" || autoscaler != "n0" {
		t.Errorf("corepin says %q and the autoscaler %q; want none and n0", corepin, autoscaler)
	}
}

// A placeholder of whole-node size makes the autoscaler add nodes: it fits by count on no node that runs a VM.
func TestAPlaceholderOfAWholeNode(t *testing.T) {
	const whole = 61
	_, autoscaler := fullPool(t, 1).asks(placeholder(whole))
	if autoscaler != "" {
		t.Errorf("the placeholder fits on %q, and no node is added", autoscaler)
	}
	p := fullPool(t, 2) // the node has come
	_, autoscaler = p.asks(placeholder(whole))
	if autoscaler != "n1" {
		t.Errorf("the placeholder goes to %q; want the new node", autoscaler)
	}
	bound := p.bind(placeholder(whole), "n1")
	corepin, _ := p.asks(vm("new", 16))
	if corepin != "" {
		t.Errorf("the VM fits on %q beside the placeholder", corepin)
	}
	p.gone(bound) // it is preempted for the VM
	corepin, _ = p.asks(vm("new", 16))
	if corepin != "n1" {
		t.Errorf("the VM goes to %q; want the placeholder's node", corepin)
	}
	p.bind(vm("new", 16), "n1")
	_, autoscaler = p.asks(placeholder(whole))
	if autoscaler != "" {
		t.Errorf("the placeholder that waits again fits on %q, and no node is added", autoscaler)
	}
}

// A smaller placeholder goes back beside the VM that has evicted it, and no node is added.
func TestAPlaceholderOfHalfANode(t *testing.T) {
	p := fullPool(t, 2)
	p.bind(vm("new", 16), "n1")
	_, autoscaler := p.asks(placeholder(32))
	if autoscaler != "n1" {
		t.Errorf("the placeholder fits on %q; want n1", autoscaler)
	}
}
