// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"cmp"
	"math/rand/v2"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/verdict"
)

// Pod is a VM's launcher pod, or another pod.
type Pod struct {
	// Name is how people know it: "VM vms/db".
	Name string
	// UID is the one that the pod has on its node.
	UID types.UID
	// Spec is the pod, on no node.
	Spec   *corev1.Pod
	Demand verdict.Demand
	// Class is equal for pods to which every node gives the same answer.
	Class string
	// holds reports that the node's report has something of the pod, and coming that it will have, since the pod is in flight.
	holds, coming bool
}

// Coming says that the pod is bound, and that its node's kubelet has not granted it anything yet.
func (p *Pod) Coming() { p.coming = true }

// Holds says that the report of the pod's node has CPUs or else of the pod.
func (p *Pod) Holds(holds bool) *Pod {
	p.holds = holds
	return p
}

// Cluster is nodes, and what they have been asked.
type Cluster struct {
	Nodes    []*Node
	strategy scoring.Strategy
	random   *rand.Rand
	answers  map[string][]asked // by class, in the order of Nodes
}

// New makes a cluster. The seed decides between nodes that are rated alike.
func New(nodes []*Node, strategy scoring.Strategy, seed uint64) *Cluster {
	return &Cluster{Nodes: nodes, strategy: strategy, random: rand.New(rand.NewPCG(seed, seed)), answers: map[string][]asked{}}
}

// Cause is why some nodes do not take a pod.
type Cause struct {
	Nodes int    `json:"nodes"`
	Why   string `json:"why"`
}

// Outcome is what becomes of a pod.
type Outcome struct {
	Pod *Pod
	// Node is where it goes; "" for nowhere.
	Node string
	// Grants are its CPUs there, and Estimated reports that they are not known.
	Grants    []admission.Grant
	Estimated bool
	// Causes are why no node takes it, the most frequent first.
	Causes []Cause
}

// Place puts a pod on the node that the scheduler would choose.
func (c *Cluster) Place(pod *Pod) Outcome {
	answers := c.ask(pod)
	best := -1
	ties := 0
	for i := range answers {
		a := &answers[i]
		switch {
		case !a.fits:
		case best < 0 || a.rating > answers[best].rating:
			best = i
			ties = 1
		case a.rating == answers[best].rating:
			ties++
			if c.random.IntN(ties) == 0 { // each of the equal nodes with the same chance
				best = i
			}
		}
	}
	if best < 0 {
		return Outcome{Pod: pod, Causes: causes(answers)}
	}
	estimated := answers[best].estimated
	return Outcome{Pod: pod, Node: c.Nodes[best].Name, Grants: c.Nodes[best].add(pod), Estimated: estimated}
}

// Destination is the node that is rated best for a pod, apart from the one that it is on; "" where no other takes it. Nothing is
// changed.
func (c *Cluster) Destination(pod *Pod, from string) string {
	answers := c.ask(pod)
	best := -1
	for i := range answers {
		if answers[i].fits && c.Nodes[i].Name != from && (best < 0 || answers[i].rating > answers[best].rating) {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	return c.Nodes[best].Name
}

// ask gives the answers of all nodes to a pod.
func (c *Cluster) ask(pod *Pod) []asked {
	answers := c.answers[pod.Class]
	if answers == nil {
		answers = make([]asked, len(c.Nodes))
		c.answers[pod.Class] = answers
	}
	for i, node := range c.Nodes {
		if answers[i].changes != node.changes {
			answers[i] = node.ask(pod, c.strategy)
		}
	}
	return answers
}

// causes counts the nodes by why they do not take a pod.
func causes(answers []asked) []Cause {
	counts := map[string]int{}
	var all []Cause
	for i := range answers {
		if counts[answers[i].why] == 0 {
			all = append(all, Cause{Why: answers[i].why})
		}
		counts[answers[i].why]++
	}
	for i := range all {
		all[i].Nodes = counts[all[i].Why]
	}
	slices.SortStableFunc(all, func(a, b Cause) int { return cmp.Or(b.Nodes-a.Nodes, cmp.Compare(a.Why, b.Why)) })
	return all
}

// Take takes a pod off a node, with all that it holds.
func (c *Cluster) Take(node *Node, pod *Pod) { node.remove(pod) }

// Close keeps all further pods off a node, as a drain does.
func (c *Cluster) Close(node *Node) {
	node.drained = true
	node.changes++
}

// Room is how many more pods like one fit on each node, if nothing else comes. The cluster is not changed.
func (c *Cluster) Room(pod *Pod, most int) []int {
	room := make([]int, len(c.Nodes))
	for i, node := range c.Nodes {
		room[i] = node.copied().room(pod, most, c.strategy, func(a *asked) bool { return a.fits })
	}
	return room
}
