package cli

import (
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/nodemap"
	"corepin.dev/corepin/pkg/verdict"
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
		printWhy(out, &a.trials[0], a.demand, "  ")
	default:
		printRefusals(out, a)
	}
}

// refusals are nodes that refuse a pod in the same words.
type refusals struct {
	text  string
	nodes []string
}

// printRefusals writes why several nodes refuse a pod, equal nodes once.
func printRefusals(out *printer, a *answer) {
	out.printf("%s: fits on none of %d nodes\n", a.demand.name, len(a.trials))
	var list []*refusals
	byText := map[string]*refusals{}
	for i := range a.trials {
		t := &a.trials[i]
		var why strings.Builder
		printWhy(&printer{out: &why}, t, a.demand, "    ")
		text := harmless(t.reason+": "+t.message) + "\n" + why.String()
		if byText[text] == nil {
			byText[text] = &refusals{text: text}
			list = append(list, byText[text])
		}
		byText[text].nodes = append(byText[text].nodes, t.machine.name)
	}
	more := 0
	for i, g := range list {
		if i < maxRefusals {
			out.printf("  refused by %s: ", nodeNames(g.nodes))
			out.print(g.text)
		} else {
			more += len(g.nodes)
		}
	}
	if more > 0 {
		out.printf("  and refused by %d more\n", more)
	}
}

// printWhy writes what the pod lacks on a node, and what would help. With the kubelet's other checks (pkg/kubelet/predicates), what
// helps is left to the command explain, which makes those checks too.
func printWhy(out *printer, t *trial, d *demand, indent string) {
	if t.verdict.Obstacle != verdict.Kubelet {
		return
	}
	why := explain.Of(&t.node, &verdict.Demand{Pod: d.pod})
	out.printf("%s%s\n", indent, why.Facts)
	if why.Rule != "" {
		out.printf("%s%s\n", indent, why.Rule)
	}
	if t.machine.fit != nil {
		return
	}
	for _, hint := range why.Hints {
		out.printf("%sfits if %s\n", indent, hint.Text)
	}
}

// printMaps draws the nodes that are wanted, as the pods leave them.
func (s *snapshot) printMaps(out *printer, wanted map[string]bool) {
	for _, m := range s.machines {
		if wanted[m.name] && m.report.Node != nil {
			out.printf("\n%s\n", m.name)
			out.print(m.draw())
		}
	}
}

// draw is the map of a machine and who holds its CPUs. It can be printed as it is.
func (m *machine) draw() string {
	node := m.report.Node
	var holders []nodemap.Holder
	used := node.Reserved.Union(node.Shared)
	hold := func(name string, cpus cpuset.Set) {
		holders = append(holders, nodemap.Holder{Name: harmless(name), CPUs: cpus})
		used = used.Union(cpus)
	}
	for _, uid := range m.holders() {
		hold(m.nameOf(uid), admission.Decision{Grants: m.report.Granted[uid]}.Granted())
	}
	missing := node.Topology.CPUs().Minus(used)
	if node.CPUManager.Policy == cpumanager.PolicyStatic && !missing.IsEmpty() {
		hold("in use, the report does not say by whom", missing)
	}
	return nodemap.Draw(node.Topology, node.Reserved, holders)
}
