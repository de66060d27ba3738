// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// scenario writes down a node as a report has it, the pods that came, and what the kubelet did with each. Its lines are those of
// test/conformance/kubelet136: put into a file there, it is replayed against the kubelet's own code.
func scenario(node *admission.Node, pods []*admission.Pod, results []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# kubelet 1.%d\nmachine %s\n", node.Minor, node.Topology)
	nodes := node.Topology.NUMANodes()
	if nodes[0].Distances != nil {
		rows := make([]string, len(nodes))
		for i := range nodes {
			rows[i] = strings.Trim(fmt.Sprint(nodes[i].Distances), "[]")
		}
		fmt.Fprintf(&b, "distances %s\n", strings.Join(rows, "; "))
	}
	options := strings.TrimPrefix(node.CPUManager.String(), node.CPUManager.Policy)
	fmt.Fprintf(&b, "cpu-manager%s\n", options)
	manager := strings.Replace(node.TopologyManager.String(), "/", " ", 1)
	if node.TopologyManager.Policy == topologymanager.PolicyNone {
		manager += " " + topologymanager.ScopeContainer
	}
	fmt.Fprintf(&b, "topology-manager %s\n", manager)
	if !node.Reserved.IsEmpty() {
		fmt.Fprintf(&b, "reserved %s\n", node.Reserved)
	}
	b.WriteString(occupy(node))
	for i, pod := range pods {
		fmt.Fprintf(&b, "add %s\n", pod)
		if results[i] != "" {
			fmt.Fprintf(&b, "= %s\n", results[i])
		}
	}
	return b.String()
}

// occupy returns steps that bring an empty node to where the same CPUs are held as on this one. Small pods fill it until each
// of those CPUs is held. Those that hold others are removed again. If that does not lead there, a comment says what is held.
func occupy(node *admission.Node) string {
	now := node.Empty()
	now.Memory = nil // The small pods ask for CPUs only.
	held := now.Shared.Minus(node.Shared)
	size := 1
	if now.CPUManager.Options.FullPCPUsOnly {
		size = now.Topology.ThreadsPerCore()
	}
	var adds, removes strings.Builder
	var filled cpuset.Set
	for n := 1; !held.Minus(filled).IsEmpty(); n++ {
		filler := admission.Pod{Name: fmt.Sprintf("held-%d", n), Guaranteed: true, Containers: []admission.Container{{Name: "compute", CPUs: size}}}
		d := admission.Admit(&now, &filler)
		granted := d.Granted()
		if d.Verdict != admission.Admitted || granted.Overlaps(held) && !granted.Minus(held).IsEmpty() {
			return fmt.Sprintf("# held before: %s\n", held)
		}
		fmt.Fprintf(&adds, "add %s\n", filler)
		if !granted.Overlaps(held) {
			fmt.Fprintf(&removes, "remove %s\n", filler.Name)
		}
		filled = filled.Union(granted)
		now.Shared = d.Shared
	}
	return adds.String() + removes.String()
}
