// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/objects"
	"corepin.dev/corepin/pkg/simulation"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/pkg/vmi"
)

// town is a cluster as a simulation begins with it.
type town struct {
	nodes []*simulation.Node
	// waiting are the pods that have no node and ask for CPUs of their own. planned are the VMs of the input that do not exist
	// yet.
	waiting, planned []*simulation.Pod
	// machine is the NodeCPU of the input where the nodes are a cluster's; nil where there is none.
	machine *simulation.Node

	machines map[types.UID]*vmi.VMI
	// mobile is what VMIs say about live migration, by UID, and objects are the Nodes by name.
	mobile  map[types.UID]*mobility
	objects map[string]*corev1.Node
	// namespace is the one that kubectl would use; "" for that of files.
	namespace string
	// live reports that the nodes are those of a cluster or of a dump, and known that the input has objects of a cluster too.
	live, known bool
	// arriving are the pods that are bound to nodes, and whose CPUs are in no report yet. gone are those that have ended, and whose
	// CPUs are still in a report.
	arriving, gone map[types.UID]bool
}

// town reads the nodes and who is there. NodeCPUs in the input are the nodes, unless a dump has those.
func (c *call) town(ctx context.Context) (*town, error) {
	s, machine, err := c.townInput(ctx)
	if err != nil {
		return nil, err
	}
	return c.townOf(ctx, s, machine)
}

// townAgain reads the cluster again. The input stays as it was read.
func (c *call) townAgain(ctx context.Context) (*town, error) {
	s, _, err := c.inputOf(ctx, c.read)
	if err == nil {
		err = s.fromCluster(ctx, c.host)
	}
	if err != nil {
		return nil, err
	}
	return c.townOf(ctx, s, nil)
}

// townOf is a town of a snapshot. machine is the one that only the input has; nil for none.
func (c *call) townOf(ctx context.Context, s *snapshot, machine *machine) (*town, error) {
	err := s.inputErrors()
	if err != nil {
		return nil, err
	}
	t := &town{machines: map[types.UID]*vmi.VMI{}, mobile: map[types.UID]*mobility{}, objects: s.nodes, namespace: s.namespace,
		live: s.live, known: machine != nil || s.hasCluster(), arriving: map[types.UID]bool{}, gone: map[types.UID]bool{}}
	if s.live {
		for _, object := range c.listed(ctx, ResourceVMIs) {
			t.addVMI(object)
		}
	}
	planned := map[string]*virtualMachine{}
	for _, vm := range s.vms {
		if vm.created {
			t.machines[types.UID(vm.sized.UID)] = vm.sized
			t.mobile[types.UID(vm.sized.UID)] = vm.mobile
		} else {
			planned[nameOf(vm.pod)] = vm
		}
	}
	s.admitBound()
	there := map[string][]*simulation.Pod{}
	see := func(pod *corev1.Pod) {
		vm := planned[nameOf(pod)]
		switch {
		case ended(pod):
		case vm != nil && pod == vm.pod:
			t.planned = append(t.planned, t.pod(pod, vm.sized))
		case pod.Spec.NodeName != "":
			p := t.pod(pod, nil)
			m := s.byName[pod.Spec.NodeName]
			if m != nil {
				there[m.name] = append(there[m.name], p.Holds(m.report.Has(p.UID)))
			}
		case verdict.AsksCPUs(pod):
			t.waiting = append(t.waiting, t.pod(pod, nil))
		}
	}
	for i := range s.there {
		see(&s.there[i])
	}
	for _, pod := range s.pods {
		see(pod)
	}
	for _, m := range s.machines {
		for _, uid := range m.admitted {
			t.arriving[uid] = true
		}
		node := simulation.NewNode(m.name, s.nodes[m.name], m.heard(), there[m.name])
		if s.live { // all pods are known
			for _, uid := range node.DropGone() {
				t.gone[uid] = true
			}
		}
		t.nodes = append(t.nodes, node)
	}
	if machine != nil {
		t.machine = simulation.NewNode(machine.name, machine.object, machine.report, nil)
	}
	return t, nil
}

// node finds a node by its name.
func (t *town) node(name string) (*simulation.Node, error) {
	at := slices.IndexFunc(t.nodes, func(node *simulation.Node) bool { return node.Name == name })
	if at < 0 {
		return nil, fmt.Errorf("there is no NodeCPU of node %s; kubectl get nodecpus lists them", name)
	}
	return t.nodes[at], nil
}

// hasCluster reports whether the input has VMs that exist, or pods that are on a node.
func (s *snapshot) hasCluster() bool {
	return slices.ContainsFunc(s.vms, func(m *virtualMachine) bool { return m.created }) ||
		slices.ContainsFunc(s.pods, func(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" })
}

// townInput is the snapshot of the cluster or of the input, and the machine of the input where the cluster is a dump.
func (c *call) townInput(ctx context.Context) (*snapshot, *machine, error) {
	if len(c.files.names) == 0 {
		s, err := c.snapshot(ctx, nil)
		return s, nil, err
	}
	all, err := c.objects(nil)
	if err != nil {
		return nil, nil, err
	}
	c.files.names = nil
	if c.files.dump == nil && !c.asksForCluster() {
		c.read = slices.Clip(all)
		s, asksCluster, err := c.inputOf(ctx, c.read)
		if err == nil && asksCluster {
			err = s.fromCluster(ctx, c.host)
		}
		return s, nil, err
	}
	var machines, others []objects.Object
	for i := range all {
		if isReport(&all[i]) || all[i].Kind == nodeKind.Kind && all[i].APIVersion == nodeKind.APIVersion {
			machines = append(machines, all[i])
		} else {
			others = append(others, all[i])
		}
	}
	made := snapshotOf(machines)
	if len(made.bad) > 0 || len(made.machines) > 1 {
		return nil, nil, fmt.Errorf("reading input: want one NodeCPU, that of the new machine: %w", made.inputErrors())
	}
	c.read = slices.Clip(others)
	s, _, err := c.inputOf(ctx, c.read)
	if err != nil {
		return nil, nil, err
	}
	if len(made.machines) == 0 {
		return s, nil, s.fromCluster(ctx, c.host)
	}
	return s, made.machines[0], s.fromCluster(ctx, c.host)
}

func (t *town) addVMI(object map[string]any) {
	machine, err := vmi.FromUnstructured(object)
	if err == nil {
		uid := (&unstructured.Unstructured{Object: object}).GetUID()
		t.machines[uid] = machine
		t.mobile[uid] = mobilityOf(object)
	}
}

// pod is a pod as a simulation takes it. machine is its VM; nil for that of the cluster.
func (t *town) pod(pod *corev1.Pod, machine *vmi.VMI) *simulation.Pod {
	p := simulated(pod)
	l, is := launcher.Of(pod)
	if !is || !l.Dedicated {
		return p
	}
	if machine == nil {
		machine = t.machines[l.VMIUID]
	}
	vm := l.Judge(machine, nil, vmi.Standard)
	p.Demand.Dedicated = vm.Dedicated
	p.Demand.Guest = vm.Guest
	p.Demand.Compute = l.Compute
	p.Class = classOf(p)
	return p
}

// simulated is a pod of no VM.
func simulated(pod *corev1.Pod) *simulation.Pod {
	spec := *pod
	spec.Spec.NodeName = ""
	p := &simulation.Pod{Name: podOrVM(pod), UID: verdict.UIDOnNode(pod), Spec: &spec, Demand: verdict.DemandOf(pod)}
	if p.UID == "" {
		p.UID = types.UID("the input's " + nameOf(pod))
	}
	p.Class = classOf(p)
	return p
}

// classOf is equal for pods to which every node gives the same answer: those of equal demands, amounts, and wishes for nodes.
func classOf(p *simulation.Pod) string {
	spec := &p.Spec.Spec
	parts := []any{p.Demand.Key(), spec.NodeSelector, spec.Affinity, spec.Tolerations, spec.HostNetwork, spec.Priority, spec.Overhead, spec.Resources}
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			parts = append(parts, containers[i].Resources, containers[i].Ports)
		}
	}
	return jsonOf(parts)
}

// numbered is one of several VMs made of the same object.
func numbered(pod *simulation.Pod, i int) *simulation.Pod {
	another := *pod
	another.Name = fmt.Sprintf("%s #%d", pod.Name, i+1)
	another.UID = types.UID(fmt.Sprintf("%s #%d", pod.UID, i+1))
	return &another
}
