// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// asked is what was asked for when the kubelet refused, and the node as it was then.
type asked struct {
	who  string // "" for the only container with CPUs of its own
	cpus int
	node *admission.Node
}

// askedAt finds the first container with which the pod is refused, and the node as those before leave it.
// Where the kubelet aligns the pod as a whole, that is the pod. The node's shared pool is what the pods in
// flight leave of it in any case.
func (q *question) askedAt(d *admission.Decision) asked {
	node := *q.node.Kubelet
	if len(q.inFlight()) > 0 {
		node.Shared = d.Shared
	}
	var own []admission.Container
	for _, container := range q.demand.Pod.Containers {
		if container.CPUs > 0 {
			own = append(own, container)
		}
	}
	if len(own) < 2 || q.demand.Pod.PodLevelResources {
		return asked{"", q.demand.Pod.PeakCPUs(), &node}
	}
	if node.TopologyManager.Scope == topologymanager.ScopePod && node.TopologyManager.Policy != topologymanager.PolicyNone {
		var parts []string
		for _, container := range own {
			parts = append(parts, fmt.Sprintf("%s %d", container.Name, container.CPUs))
		}
		return asked{fmt.Sprintf("the pod as a whole (%s)", strings.Join(parts, ", ")), q.demand.Pod.PeakCPUs(), &node}
	}
	before := node
	for i, container := range q.demand.Pod.Containers {
		if container.CPUs == 0 {
			continue
		}
		so := q.demand.Pod
		so.Containers = q.demand.Pod.Containers[:i+1]
		d, after := node.Admitting(&so)
		if d.Verdict != admission.Admitted || !d.NotFree.IsEmpty() {
			return asked{"container " + container.Name, container.CPUs, &before}
		}
		before = after
	}
	return asked{"", q.demand.Pod.PeakCPUs(), &node}
}

// needs says what the kubelet looked for, in a clause: "needs 4 whole cores in one NUMA node".
func (a asked) needs(d *admission.Decision) string {
	text := "needs " + a.amount()
	if a.who != "" {
		text = a.who + " " + text
	}
	switch d.Reason {
	case admission.ReasonTopologyAffinity:
		text += a.place()
	case admission.ReasonSMTAlignment:
		rest := a.cpus % a.threads()
		if rest != 0 {
			return fmt.Sprintf("%s, and gives whole cores of %d only", text, a.threads())
		}
		part := a.besideReserved()
		if !part.IsEmpty() {
			text += fmt.Sprintf(", and CPUs %s, on cores with a reserved CPU, do not count", part)
		}
	case admission.ReasonUnexpected:
	default:
		text += ": " + d.Message
	}
	return text
}

// amount is "4 whole cores" where only whole cores are given, else "8 CPUs".
func (a asked) amount() string {
	threads := a.threads()
	if a.node.CPUManager.Options.FullPCPUsOnly && threads > 1 && a.cpus%threads == 0 {
		return count(a.cpus/threads, "whole core")
	}
	return count(a.cpus, "CPU")
}

func (a asked) threads() int { return max(1, a.node.Topology.ThreadsPerCore()) }

// place says on which NUMA nodes the topology manager insists, where there is a choice.
func (a asked) place() string {
	if len(freeOf(a.node.Topology, cpuset.Set{})) < 2 {
		return ""
	}
	few, capacity := a.fewest()
	if a.node.TopologyManager.Policy == topologymanager.PolicySingleNUMANode {
		few = 1
		capacity = a.largest(1)
	}
	socket := ""
	if a.node.CPUManager.Options.AlignBySocket {
		socket = " or socket"
	}
	switch {
	case few == 0:
		return ", and the whole machine has " + fmt.Sprint(capacity)
	case capacity < a.cpus:
		return fmt.Sprintf(" in one NUMA node, and the largest has %d CPUs", capacity)
	case few == 1:
		return " in one NUMA node" + socket
	}
	return fmt.Sprintf(" in %d NUMA nodes%s", few, socket)
}

// fewest is the number of NUMA nodes that hold the request when empty, and how many CPUs so many have at
// most; 0 if all together do not.
func (a asked) fewest() (few, capacity int) {
	for few = 1; few <= len(a.node.Topology.NUMANodes()); few++ {
		if capacity = a.largest(few); capacity >= a.cpus {
			return few, capacity
		}
	}
	return 0, capacity
}

// largest is how many CPUs so many of the largest NUMA nodes have.
func (a asked) largest(nodes int) int { return sumOfLargest(a.node.Topology.CPUs(), a, nodes) }

// sumOfLargest is how many CPUs of a set so many NUMA nodes have at most.
func sumOfLargest(cpus cpuset.Set, a asked, nodes int) int {
	var array [16]int
	sizes := array[:0]
	for _, numa := range a.node.Topology.NUMANodes() {
		sizes = append(sizes, -numa.CPUs.Intersect(cpus).Len())
	}
	slices.Sort(sizes)
	sum := 0
	for i := range min(nodes, len(sizes)) {
		sum -= sizes[i]
	}
	return sum
}

// besideReserved are the free CPUs of cores that have a reserved CPU: the option full-pcpus-only does not
// count them.
func (a asked) besideReserved() cpuset.Set {
	var beside cpuset.Set
	for _, core := range a.node.Topology.Cores() {
		if core.CPUs.Overlaps(a.node.Reserved) {
			beside = beside.Union(core.CPUs)
		}
	}
	return beside.Intersect(a.node.Free())
}

// missing is how many CPUs are too few where the kubelet wants them; at least 1.
func (a asked) missing(d *admission.Decision) int {
	free := a.node.Free()
	room := free.Len()
	switch d.Reason {
	case admission.ReasonTopologyAffinity:
		few, _ := a.fewest()
		if few == 0 || a.node.TopologyManager.Policy == topologymanager.PolicySingleNUMANode {
			few = 1
		}
		room = sumOfLargest(free, a, few)
	case admission.ReasonSMTAlignment:
		room = free.Minus(a.besideReserved()).Len()
	}
	return max(1, a.cpus-room)
}

// Missing is how many CPUs node n lacks for pod p, refused by decision d; at least 1. It looks at the pod as a
// whole and is cheap enough to rank all nodes of a cluster by; Explanation.Missing is more exact.
func Missing(n *admission.Node, p *admission.Pod, d *admission.Decision) int {
	return asked{"", p.PeakCPUs(), n}.missing(d)
}

// rule says which rule of the kubelet the request breaks, in a sentence for people who set up nodes.
func (a asked) rule(d *admission.Decision) string {
	policy := "Topology manager policy " + a.node.TopologyManager.Policy
	few, capacity := a.fewest()
	switch {
	case d.Reason == admission.ReasonSMTAlignment:
		return "CPU manager option full-pcpus-only gives whole cores, and counts none that has a reserved CPU."
	case d.Reason != admission.ReasonTopologyAffinity:
		return ""
	case a.node.CPUManager.Options.AlignBySocket:
		return policy + ", with align-by-socket, wants them on as few NUMA nodes or sockets as an empty machine would need."
	case a.node.TopologyManager.Policy == topologymanager.PolicySingleNUMANode:
		return policy + " wants them all on one NUMA node. What is free on the others does not count."
	case few == 0:
		return ""
	case few == 1:
		return fmt.Sprintf("%s allows no more NUMA nodes than an empty machine would need, reserved and used CPUs counted: one, of %d CPUs. "+
			"What is free on several together does not count.", policy, capacity)
	}
	return fmt.Sprintf("%s allows no more NUMA nodes than an empty machine would need, reserved and used CPUs counted: %d, of %d CPUs together.", policy, few, capacity)
}
