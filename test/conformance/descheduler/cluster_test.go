// SPDX-License-Identifier: Apache-2.0

package descheduler

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	corev1defaults "k8s.io/kubernetes/pkg/apis/core/v1"

	"corepin.dev/corepin/pkg/launcherpod"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/test/perf/cycle"
)

// machine is a VM that runs.
type machine struct {
	object *unstructured.Unstructured
	cpus   int
	pod    *corev1.Pod
}

// cluster is nodes on which corepin has placed VMs.
type cluster struct {
	*cycle.Cluster
	ctx  context.Context
	t    *testing.T
	dice *rand.Rand
	vms  map[string]*machine
	made int // VMs and pods so far
}

func newCluster(t *testing.T, strategy config.ScoringStrategy, seed uint64, nodes int) *cluster {
	t.Helper()
	const line = "scoringStrategy: "
	configuration, err := cycle.ShippedConfig(line+string(config.LeastFragmentation), line+string(strategy))
	if err != nil {
		t.Fatal(err)
	}
	ctx := klog.NewContext(t.Context(), logr.Discard())
	under, err := cycle.NewCluster(ctx, configuration, map[string]string{"full-pcpus-only": "true"})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{Cluster: under, ctx: ctx, t: t, dice: rand.New(rand.NewPCG(seed, 0)), vms: map[string]*machine{}}
	c.join(nodes)
	return c
}

// join adds empty nodes.
func (c *cluster) join(nodes int) {
	c.t.Helper()
	for range nodes {
		err := c.Join(c.ctx, fmt.Sprintf("node-%02d", len(c.Nodes())))
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

// vmi is a VM with dedicated CPUs that is migrated when its pod is evicted.
func vmi(name string, cpus int) *unstructured.Unstructured {
	spec := map[string]any{
		"schedulerName":    "corepin",
		"architecture":     "amd64",
		"evictionStrategy": "LiveMigrate",
		"domain": map[string]any{
			"cpu":     map[string]any{"cores": int64(cpus), "dedicatedCpuPlacement": true, "model": "host-passthrough"},
			"memory":  map[string]any{"guest": fmt.Sprint(cpus, "Gi")},
			"devices": map[string]any{},
		},
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
		"metadata": map[string]any{"namespace": "vms", "name": name, "uid": name}, "spec": spec,
	}}
}

// start runs a VM, and reports whether there was a place for it. wish changes the VM; nil for none.
func (c *cluster) start(cpus int, wish func(*unstructured.Unstructured)) bool {
	c.t.Helper()
	c.made++
	name := fmt.Sprintf("vm-%03d", c.made)
	vm := &machine{object: vmi(name, cpus), cpus: cpus}
	if wish != nil {
		wish(vm.object)
	}
	pod, err := launcherpod.Render(vm.object)
	if err != nil {
		c.t.Fatal(err)
	}
	vm.pod = c.place(pod)
	if vm.pod == nil {
		return false
	}
	c.vms[name] = vm
	return true
}

// place gives a pod a node, and returns it bound; nil where it has to wait.
func (c *cluster) place(pod *corev1.Pod) *corev1.Pod {
	c.t.Helper()
	c.made++
	pod.Name = fmt.Sprint(pod.GenerateName, c.made)
	pod.UID = types.UID(pod.Name)
	corev1defaults.SetObjectDefaults_Pod(pod) // the API server does
	bound, admitted, err := c.Place(c.ctx, pod)
	if err != nil {
		c.t.Fatal(err)
	}
	if bound != nil && !admitted {
		c.t.Fatalf("the kubelet of %s refuses pod %s", bound.Spec.NodeName, bound.Name)
	}
	return bound
}

// end stops a VM.
func (c *cluster) end(name string) {
	c.t.Helper()
	err := c.End(c.ctx, c.vms[name].pod)
	if err != nil {
		c.t.Fatal(err)
	}
	delete(c.vms, name)
}

// migrate moves a VM as KubeVirt does: the target runs before the source ends. It reports whether there was a place.
func (c *cluster) migrate(name string) bool {
	c.t.Helper()
	vm := c.vms[name]
	source := vm.pod
	uid := fmt.Sprint("migration-", c.made)
	nodes := c.Nodes()
	node := nodes[slices.IndexFunc(nodes, func(n *corev1.Node) bool { return n.Name == source.Spec.NodeName })]
	target, err := launcherpod.RenderTarget(vm.object, launcherpod.Migration{Name: uid, UID: types.UID(uid)}, node.Labels, source)
	if err != nil {
		c.t.Fatal(err)
	}
	bound := c.place(target)
	if bound == nil {
		return false
	}
	vm.pod = bound
	err = c.End(c.ctx, source)
	if err != nil {
		c.t.Fatal(err)
	}
	return true
}

// used are the CPUs of the VMs on each node that has some.
func (c *cluster) used() map[string]int {
	used := map[string]int{}
	for _, vm := range c.vms {
		used[vm.pod.Spec.NodeName] += vm.cpus
	}
	return used
}

// on are the VMs of a node, by size and name.
func (c *cluster) on(node string) []string {
	var names []string
	for name, vm := range c.vms {
		if vm.pod.Spec.NodeName == node {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return slices.Compare([]string{fmt.Sprintf("%02d", c.vms[a].cpus), a}, []string{fmt.Sprintf("%02d", c.vms[b].cpus), b})
	})
	return names
}

const (
	settled = 8  // nodes of a cluster in which VMs have come and gone
	full    = 60 // per cent of their CPUs that VMs have
	changes = 100
	left    = 3 // nodes that all VMs but one have left
	fresh   = 2 // nodes that have just joined
)

// sizes of VMs, in CPUs, as often as they come.
var sizes = []int{2, 2, 2, 2, 4, 4, 4, 8, 8, 16}

// lived is a cluster in which VMs have come and gone, some nodes have lost nearly all of their VMs, and others are new.
func lived(t *testing.T, strategy config.ScoringStrategy, seed uint64, wish func(*unstructured.Unstructured)) *cluster {
	t.Helper()
	c := newCluster(t, strategy, seed, settled)
	for range changes {
		if len(c.vms) > 0 {
			names := slices.Sorted(maps.Keys(c.vms))
			c.end(names[c.dice.IntN(len(names))])
		}
		c.fill(wish)
	}
	nodes := slices.Sorted(maps.Keys(c.used()))
	c.dice.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	for _, node := range nodes[:left] {
		for _, name := range c.on(node)[1:] {
			c.end(name)
		}
	}
	c.join(fresh)
	return c
}

// fill starts VMs until there are enough, or one finds no place.
func (c *cluster) fill(wish func(*unstructured.Unstructured)) {
	c.t.Helper()
	for {
		cpus := 0
		for _, vm := range c.vms {
			cpus += vm.cpus
		}
		if cpus*100 >= full*settled*cycle.NodeCPUs || !c.start(sizes[c.dice.IntN(len(sizes))], wish) {
			return
		}
	}
}
