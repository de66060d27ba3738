// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/simulation"
	"corepin.dev/corepin/pkg/verdict"
)

// simulated is the fleet as a search for migrations begins with it, by the reports of its nodes. All VMs may move.
func (f *fleet) simulated() (*simulation.Cluster, simulation.Targets) {
	targets := simulation.Targets{}
	pods := map[string][]*simulation.Pod{}
	for _, name := range slices.Sorted(maps.Keys(f.bound)) {
		pod := simulatedPod(name, f.bound[name]).Holds(true)
		host := f.bound[name].Spec.NodeName
		pods[host] = append(pods[host], pod)
		targets[pod] = pod.Moved()
	}
	var nodes []*simulation.Node
	for _, name := range slices.Sorted(maps.Keys(f.nodes)) {
		n := f.nodes[name]
		node := simulation.NewNode(name, n.object, n.reported(), pods[name])
		node.DropGone()
		nodes = append(nodes, node)
	}
	return simulation.New(nodes, scoring.LeastFragmentation, 1), targets
}

// simulatedPod is a VM's pod as a simulation takes it.
func simulatedPod(vm string, pod *corev1.Pod) *simulation.Pod {
	spec := *pod
	spec.Spec.NodeName = ""
	p := &simulation.Pod{Name: vm, UID: pod.UID, Spec: &spec, Demand: verdict.DemandOf(pod)}
	p.Demand.Dedicated = true
	requests := pod.Spec.Containers[0].Resources.Requests
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, hugePages, vf} {
		p.Class += fmt.Sprintln(name, requests.Name(name, "").Value())
	}
	return p
}

// migrate makes a migration of a plan as KubeVirt does: the other node's kubelet admits a second pod of the VM, and the first one
// ends after that. It is an error if the CPUs are not those of the plan.
func (f *fleet) migrate(ctx context.Context, step *simulation.Migration) error {
	source := f.bound[step.Pod.Name]
	from := f.nodes[step.From]
	to := f.nodes[step.To]
	err := from.holds(source, step.Frees)
	if err != nil {
		return err
	}
	f.pods++
	target := source.DeepCopy()
	target.Name = fmt.Sprintf("vm-%d", f.pods)
	target.UID = types.UID(target.Name)
	target.Spec.NodeName = step.To
	refused, err := to.admit(target)
	switch {
	case err != nil:
		return err
	case refused != "":
		return fmt.Errorf("the kubelet of %s refuses %s, and takes it by the plan: %s", step.To, step.Pod.Name, refused)
	}
	err = to.holds(target, step.Gets)
	if err == nil {
		err = f.Bound(ctx, target)
	}
	if err == nil {
		err = f.tell(ctx, to)
	}
	if err != nil {
		return err
	}
	from.remove(source.UID)
	f.bound[step.Pod.Name] = target
	err = f.Gone(ctx, source)
	if err != nil {
		return err
	}
	return f.tell(ctx, from)
}

// holds gives an error if a pod holds other CPUs than those that a plan has for it.
func (n *node) holds(pod *corev1.Pod, planned []admission.Grant) error {
	var cpus cpuset.Set
	for _, grant := range planned {
		cpus = cpus.Union(grant.CPUs)
	}
	held := n.held[pod.UID]
	if held != cpus {
		return fmt.Errorf("pod %s has CPUs %s on %s, and %s by the plan", pod.Name, held, n.object.Name, cpus)
	}
	return nil
}
