// SPDX-License-Identifier: Apache-2.0

package cycle

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
)

// NodeCPUs is how many CPUs a node of a Cluster has for VMs.
const NodeCPUs = 62

// Cluster is a scheduler and equal nodes: 2 NUMA nodes with 16 cores of 2 CPUs each. Package admission decides for the
// kubelets, and each has its report. One goroutine at a time may call its methods.
type Cluster struct {
	*Scheduler
	objects map[string]*corev1.Node
	options map[string]string // of the CPU managers
	nodes   map[string]*admission.Node
	held    map[string]map[types.UID]map[string]cpuset.Set
}

// NewCluster builds a cluster without nodes, whose CPU managers have the options.
func NewCluster(ctx context.Context, configuration string, options map[string]string) (*Cluster, error) {
	scheduler, err := New(ctx, configuration)
	if err != nil {
		return nil, err
	}
	return &Cluster{
		Scheduler: scheduler, options: options, objects: map[string]*corev1.Node{},
		nodes: map[string]*admission.Node{}, held: map[string]map[types.UID]map[string]cpuset.Set{},
	}, nil
}

// Join adds an empty node.
func (c *Cluster) Join(ctx context.Context, name string) error {
	cpuManager, err := cpumanager.Parse("static", c.options)
	if err != nil {
		return fmt.Errorf("reading the options of node %s: %w", name, err)
	}
	topology := cputopology.MustParse("2 sockets x 1 numa x 16 cores x 2 threads")
	c.nodes[name] = &admission.Node{
		Topology: topology, Minor: 36, CPUManager: cpuManager, Shared: topology.CPUs(), Reserved: cpuset.Of(0, 32),
		TopologyManager: topologymanager.Config{Policy: topologymanager.PolicySingleNUMANode, Scope: topologymanager.ScopeContainer},
	}
	c.held[name] = map[types.UID]map[string]cpuset.Set{}
	amounts := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(NodeCPUs, resource.DecimalSI),
		corev1.ResourceMemory: resource.MustParse("512Gi"),
		corev1.ResourcePods:   resource.MustParse("250"),
		// Launcher pods ask for some.
		corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
	}
	for _, device := range []corev1.ResourceName{"devices.kubevirt.io/kvm", "devices.kubevirt.io/tun", "devices.kubevirt.io/vhost-net"} {
		amounts[device] = resource.MustParse("1k")
	}
	c.objects[name] = &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelArchStable: "amd64", "cpumanager": "true", "kubevirt.io/cpumanager": "true",
			"kubevirt.io/schedulable": "true", "machine-type.node.kubevirt.io/q35": "true",
		}},
		Status: corev1.NodeStatus{Capacity: amounts, Allocatable: amounts},
	}
	c.AddNode(ctx, c.objects[name])
	return c.report(name)
}

// Nodes are the nodes, in the order of their names.
func (c *Cluster) Nodes() []*corev1.Node {
	var all []*corev1.Node
	for _, name := range slices.Sorted(maps.Keys(c.objects)) {
		all = append(all, c.objects[name])
	}
	return all
}

// report tells the scheduler what a node's kubelet has granted.
func (c *Cluster) report(name string) error {
	node := c.nodes[name]
	nc := &v1alpha1.NodeCPU{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: v1alpha1.NodeCPUStatus{
			KubeletVersion:  "v1.36.3",
			CPUManager:      v1alpha1.CPUManager{Policy: "static", Options: c.options},
			TopologyManager: v1alpha1.TopologyManager{Policy: "single-numa-node", Scope: "container"},
			ReservedCPUs:    node.Reserved.String(),
			SharedCPUs:      node.Shared.String(),
			Conditions:      []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue}},
		},
	}
	nodereport.SetTopology(&nc.Status, node.Topology)
	nodereport.SetGranted(&nc.Status, c.held[name])
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(nc)
	if err != nil {
		return fmt.Errorf("writing the report of %s: %w", name, err)
	}
	c.Report(&unstructured.Unstructured{Object: content})
	return nil
}

// Place schedules a VM and lets the kubelet admit it. It returns the pod with its node, nil where no node takes it. A pod that
// the kubelet refuses stays on the node without CPUs: admitted tells.
func (c *Cluster) Place(ctx context.Context, pod *corev1.Pod) (bound *corev1.Pod, admitted bool, err error) {
	if err := c.Came(pod); err != nil {
		return nil, false, fmt.Errorf("telling the scheduler of pod %s: %w", pod.Name, err)
	}
	host, err := c.Choose(ctx, pod)
	if err != nil || host == "" {
		return nil, false, err
	}
	asks := admission.PodOf(pod)
	decision := admission.Admit(c.nodes[host], &asks)
	bound = pod.DeepCopy()
	bound.Spec.NodeName = host
	admitted = decision.Verdict == admission.Admitted
	if admitted {
		c.nodes[host].Shared = decision.Shared
		c.held[host][pod.UID] = map[string]cpuset.Set{"compute": decision.Granted()}
	}
	if err := c.Bound(ctx, bound); err != nil {
		return nil, false, err
	}
	return bound, admitted, c.report(host)
}

// End removes a VM that Place has bound, and gives its CPUs back.
func (c *Cluster) End(ctx context.Context, pod *corev1.Pod) error {
	host := pod.Spec.NodeName
	for _, cpus := range c.held[host][pod.UID] {
		c.nodes[host].Shared = c.nodes[host].Shared.Union(cpus)
	}
	delete(c.held[host], pod.UID)
	if err := c.Gone(ctx, pod); err != nil {
		return err
	}
	return c.report(host)
}
