// SPDX-License-Identifier: Apache-2.0

package fragmentation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics/legacyregistry"
	testclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/simulation"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/nodes"
)

// twoNUMA has two NUMA nodes of 8 CPUs. One core of the first is reserved.
const twoNUMA = "2 sockets x 1 numa x 4 cores x 2 threads"

// emptyNode is a Node and its report, with nothing granted.
func emptyNode(name, machine, policy string, whole bool) (*corev1.Node, *nodereport.Report) {
	topology := cputopology.MustParse(machine)
	kubelet := &admission.Node{Topology: topology, Minor: 36, CPUManager: cpumanager.Config{Policy: cpumanager.PolicyStatic},
		TopologyManager: topologymanager.Config{Policy: policy, Scope: topologymanager.ScopeContainer},
		Reserved:        topology.Cores()[0].CPUs, Shared: topology.CPUs()}
	kubelet.CPUManager.Options.FullPCPUsOnly = whole
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{verdict.LabelCPUManager: "true"}}}
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(int64(kubelet.Free().Len()), resource.DecimalSI),
		corev1.ResourceMemory: resource.MustParse("64Gi"), corev1.ResourcePods: resource.MustParse("110")}
	return node, &nodereport.Report{State: nodereport.Exact, Node: kubelet, Granted: map[types.UID][]admission.Grant{}}
}

// podOf is a VM with whole CPUs, or another pod.
func podOf(name, cpus string) *simulation.Pod {
	amounts := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpus), corev1.ResourceMemory: resource.MustParse("1")}
	spec := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	spec.Spec.Containers = []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: amounts, Limits: amounts}}}
	p := &simulation.Pod{Name: name, UID: spec.UID, Spec: spec, Demand: verdict.DemandOf(spec), Class: cpus}
	p.Demand.Dedicated = p.Demand.Pod.Exclusive()
	return p
}

// clusterOf is a cluster of one node.
func clusterOf(node *corev1.Node, report *nodereport.Report, pods []*simulation.Pod) *simulation.Cluster {
	n := simulation.NewNode(node.Name, node, report, pods)
	return simulation.New([]*simulation.Node{n}, scoring.LeastFragmentation, 1)
}

// fill lets so many pods of random sizes come to a node, and about a third of them leave.
func fill(random *rand.Rand, c *simulation.Cluster, pods int) {
	n := c.Nodes[0]
	for i := range pods {
		cpus := []string{"1", "2", "2", "4", "4", "6", "8", "500m", "1500m"}[random.IntN(9)]
		c.Place(podOf(fmt.Sprint("p", i), cpus))
	}
	for _, pod := range n.Pods() {
		if random.IntN(3) == 0 {
			c.Take(n, pod)
		}
	}
}

// specs are the pods on a node as the pod informer has them.
func specs(n *simulation.Node) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range n.Pods() {
		pods = append(pods, pod.Spec)
	}
	return pods
}

var registered sync.Once

// town is a Watch with nodes that a test sets.
type town struct {
	*Watch
	view  *nodes.View
	nodes cache.Indexer
	clock *testclock.FakeClock
	leads bool
	// pods are those of each node.
	pods map[string][]*corev1.Pod
	// looked are the nodes that were counted, and each takes this long.
	looked []string
	takes  time.Duration
}

func newTown(t testing.TB, label string) *town {
	t.Helper()
	registered.Do(RegisterMetrics)
	town := &town{view: nodes.New(testclock.NewFakeClock(time.Unix(1000, 0))), nodes: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}),
		clock: testclock.NewFakeClock(time.Unix(1000, 0)), leads: true, pods: map[string][]*corev1.Pod{}}
	list(t, town.view)
	town.Watch = New(Options{
		PoolLabel: label, View: town.view, Nodes: corelisters.NewNodeLister(town.nodes), Clock: town.clock,
		Leads: func() bool { return town.leads },
		PodsOn: func(node string) ([]*corev1.Pod, error) {
			town.looked = append(town.looked, node)
			town.clock.Step(town.takes)
			return town.pods[node], nil
		},
	})
	return town
}

// list lets a view list the reports of a cluster that has none.
func list(t testing.TB, view *nodes.View) {
	t.Helper()
	client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{v1alpha1.Resource: "NodeCPUList"})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- view.Run(ctx, client, nodes.Events{Reported: func(string, nodes.Change) {}, Changed: func(string, bool) {}, Settled: stop})
	}()
	if err := <-done; err != nil || !view.Started() {
		t.Fatalf("listing the reports: %v", err)
	}
}

// add adds an empty node of machine twoNUMA in a pool.
func (town *town) add(t testing.TB, name, pool string) {
	t.Helper()
	node, report := emptyNode(name, twoNUMA, topologymanager.PolicySingleNUMANode, false)
	node.Labels["pool"] = pool
	if err := town.nodes.Add(node); err != nil {
		t.Fatal(err)
	}
	town.view.Set(name, report)
	town.NodeHandler().OnAdd(node, false)
}

// series are the values of a metric, by "pool cpus".
func series(t testing.TB, name string) map[string]int {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]int{}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, s := range family.GetMetric() {
			by := map[string]string{}
			for _, label := range s.GetLabel() {
				by[label.GetName()] = label.GetValue()
			}
			values[by[labelPool]+" "+by[labelCPUs]] = int(s.GetGauge().GetValue())
		}
	}
	return values
}
