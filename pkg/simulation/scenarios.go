// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
)

// Order is the order in which VMs look for a place.
type Order string

// The orders.
const (
	// Given is the order of the input, or of creation.
	Given Order = "given"
	// Largest has the VMs with the most CPUs first.
	Largest Order = "largest"
	// Random is by chance, by the seed.
	Random Order = "random"
)

// Orders are all of them.
var Orders = []Order{Given, Largest, Random}

// Sort puts pods in order.
func Sort(pods []*Pod, order Order, seed uint64) {
	switch order {
	case Given:
	case Largest:
		slices.SortStableFunc(pods, func(a, b *Pod) int { return cmp.Compare(b.Demand.Pod.PeakCPUs(), a.Demand.Pod.PeakCPUs()) })
	case Random:
		random := rand.New(rand.NewPCG(seed, seed+1))
		random.Shuffle(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
	}
}

// PlaceAll places pods one after the other. told is called after each.
func (c *Cluster) PlaceAll(pods []*Pod, told func(Outcome)) {
	for _, pod := range pods {
		told(c.Place(pod))
	}
}

// Drain closes nodes and moves pods from them. A pod keeps what it has until it has a new place, as a VM that migrates
// does, and leaves the node in any case.
func (c *Cluster) Drain(nodes []*Node, order Order, seed uint64, told func(from string, o Outcome)) {
	from := map[*Pod]*Node{}
	var leaving []*Pod
	for _, node := range nodes {
		c.Close(node)
		for _, pod := range node.Pods() {
			if pod.Movable() {
				from[pod] = node
				leaving = append(leaving, pod)
			}
		}
	}
	Sort(leaving, order, seed)
	for _, pod := range leaving {
		o := c.Place(pod.Moved())
		from[pod].remove(pod)
		told(from[pod].Name, o)
	}
}

// Moved is the pod that comes to another node in place of one.
func (p *Pod) Moved() *Pod {
	moved := *p
	moved.UID += "/moved"
	moved.holds = false
	moved.coming = false
	return &moved
}

// Movable reports whether a pod would go elsewhere if its node were drained, and has CPUs of its own to find there.
func (p *Pod) Movable() bool {
	for _, owner := range p.Spec.OwnerReferences {
		if owner.Kind == "DaemonSet" || owner.Kind == "Node" {
			return false
		}
	}
	return p.Spec.DeletionTimestamp == nil && p.Demand.Pod.Exclusive()
}

// Reconfigure gives a node's kubelet another configuration, and takes all pods with CPUs of their own off it, since a kubelet
// starts with another CPU manager only after its state file is removed. It gives these pods.
func (c *Cluster) Reconfigure(node *Node, change func(*admission.Node)) ([]*Pod, error) {
	if node.report.Node == nil {
		return nil, fmt.Errorf("node %s: %s", node.Name, node.report.Why)
	}
	var leaving []*Pod
	for _, pod := range node.Pods() {
		if pod.holds {
			leaving = append(leaving, pod)
			node.remove(pod)
		}
	}
	before := node.report.Node.Reserved.Len()
	kubelet := *node.report.Node
	change(&kubelet)
	kubelet = kubelet.Empty()
	after := *node.report
	after.Node = &kubelet
	after.Granted = map[types.UID][]admission.Grant{}
	after.Held = nil
	node.report = &after
	if node.object != nil {
		object := node.object.DeepCopy()
		cpus := object.Status.Allocatable[corev1.ResourceCPU]
		cpus.Add(*resource.NewQuantity(int64(before-kubelet.Reserved.Len()), resource.DecimalSI))
		object.Status.Allocatable[corev1.ResourceCPU] = cpus
		node.object = object
	}
	node.count()
	return leaving, nil
}

// Return puts pods on one node only, in their order, and gives those that its kubelet refuses, with why.
func (c *Cluster) Return(node *Node, pods []*Pod, told func(Outcome)) (refused []*Pod) {
	for _, pod := range pods {
		pod.holds = false
		a := node.ask(pod, c.strategy)
		if !a.fits {
			refused = append(refused, pod)
			told(Outcome{Pod: pod, Causes: []Cause{{1, a.why}}})
			continue
		}
		told(Outcome{Pod: pod, Node: node.Name, Grants: node.add(pod), Estimated: a.estimated})
	}
	return refused
}

// Restart starts a node's kubelet again, over its state. Pods that it fails leave the node, and are given with why.
func (c *Cluster) Restart(node *Node) (failed []*Pod, why []string, err error) {
	if node.report.State != nodereport.Exact {
		return nil, nil, fmt.Errorf("node %s cannot be predicted: %s", node.Name, node.report.Why)
	}
	for _, pod := range node.Pods() {
		grants := node.report.Granted[pod.UID]
		if len(grants) == 0 {
			continue
		}
		held := node.report.Held[pod.UID]
		decision := admission.Readmit(node.report.Node, &pod.Demand.Pod, grants, &held)
		if decision.Verdict == admission.Refused {
			failed = append(failed, pod)
			why = append(why, decision.Reason)
		}
	}
	for _, pod := range failed {
		node.remove(pod)
	}
	return failed, why, nil
}

// Copies are new nodes like one, without pods on them.
func Copies(like *Node, names []string) []*Node {
	var copies []*Node
	for _, name := range names {
		report := *like.report
		if report.Node != nil {
			kubelet := report.Node.Empty()
			report.Node = &kubelet
		}
		report.Granted = map[types.UID][]admission.Grant{}
		report.Held = nil
		var object *corev1.Node
		if like.object != nil {
			object = like.object.DeepCopy()
			object.Name = name
			object.UID = ""
			object.Spec.Unschedulable = false
			if object.Labels[corev1.LabelHostname] != "" {
				object.Labels[corev1.LabelHostname] = name
			}
		}
		copies = append(copies, NewNode(name, object, &report, nil))
	}
	return copies
}

// Add adds nodes.
func (c *Cluster) Add(nodes []*Node) {
	c.Nodes = append(c.Nodes, nodes...)
	c.answers = map[string][]asked{}
}
