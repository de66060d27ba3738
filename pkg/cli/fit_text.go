// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/nodemap"
)

// maxRefusals is how many different refusals of one pod are printed.
const maxRefusals = 10

// printAnswer writes what becomes of a pod for people.
func printAnswer(out *printer, a *answer) {
	t := a.admitted()
	if t != nil {
		out.printf("%s: %s\n", a.demand.name, t)
		return
	}
	switch len(a.trials) {
	case 0:
		reason, message := a.refusal()
		out.printf("%s: does not fit: %s: %s\n", a.demand.name, reason, message)
	case 1:
		out.printf("%s: %s\n", a.demand.name, &a.trials[0])
		a.refusals()[0].print(out, "  ")
	default:
		printRefusals(out, a)
	}
}

// printRefusals writes why several nodes refuse a pod, equal nodes once.
func printRefusals(out *printer, a *answer) {
	out.printf("%s: fits on none of %d nodes\n", a.demand.name, len(a.trials))
	more := 0
	for i, r := range a.refusals() {
		if i >= maxRefusals {
			more += len(r.Nodes)
			continue
		}
		out.printf("  refused by %s: %s: %s\n", nodeNames(r.Nodes), r.Reason, r.Message)
		r.print(out, "    ")
	}
	if more > 0 {
		out.printf("  and refused by %d more\n", more)
	}
}

// print writes what the pod lacks, and what would help.
func (r *refusals) print(out *printer, indent string) {
	for _, line := range []string{r.Facts, r.Rule} {
		if line != "" {
			out.printf("%s%s\n", indent, line)
		}
	}
	for _, hint := range r.Hints {
		out.printf("%sfits if %s\n", indent, hint.Text)
	}
}

// printMaps draws the nodes that are wanted, as the pods leave them.
func (s *snapshot) printMaps(out *printer, wanted map[string]bool) {
	for _, m := range s.machines {
		if wanted[m.name] && m.report.Node != nil {
			out.printf("\n%s\n", m.name)
			out.print(m.draw(nodemap.Style{}))
		}
	}
}

// draw is the map of a machine and who holds its CPUs. It can be printed as it is.
func (m *machine) draw(style nodemap.Style) string {
	node := m.report.Node
	var holders []nodemap.Holder
	for _, uid := range m.holders() {
		holders = append(holders, nodemap.Holder{Name: harmless(m.nameOf(uid)), CPUs: m.cpusOf(uid)})
	}
	missing := m.unnamed()
	if !missing.IsEmpty() {
		holders = append(holders, nodemap.Holder{Name: unnamedHolder, CPUs: missing})
	}
	return style.Draw(node.Topology, node.Reserved, holders)
}

// unnamedHolder is what the holder of unnamed CPUs is called.
const unnamedHolder = "in use, the report does not say by whom"

// cpusOf are all CPUs of a pod.
func (m *machine) cpusOf(uid types.UID) cpuset.Set {
	return admission.Decision{Grants: m.report.Granted[uid]}.Granted()
}

// unnamed are the CPUs that are neither in the shared pool nor reserved nor of a pod that is known.
func (m *machine) unnamed() cpuset.Set {
	node := m.report.Node
	if node.CPUManager.Policy != cpumanager.PolicyStatic {
		return cpuset.Set{}
	}
	used := node.Reserved.Union(node.Shared)
	for _, uid := range m.holders() {
		used = used.Union(m.cpusOf(uid))
	}
	return node.Topology.CPUs().Minus(used)
}
