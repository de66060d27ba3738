package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/pkg/nodemap"
)

// mostTold is how many nodes' refusals of one pod are told; the others say little that is new.
const mostTold = 10

// tellAnswer writes what becomes of a pod for people.
func (c *call) tellAnswer(a *answer) error {
	if t := a.admitted(); t != nil {
		_, err := fmt.Fprintf(c.out, "%s: %s\n", a.demand.name, t)
		return err
	}
	switch len(a.trials) {
	case 0:
		reason, message := a.refusal()
		fmt.Fprintf(c.out, "%s: does not fit: %s: %s\n", a.demand.name, reason, message)
	case 1:
		fmt.Fprintf(c.out, "%s: %s\n", a.demand.name, &a.trials[0])
		c.tellWhy(&a.trials[0], a.demand, "  ")
	default:
		fmt.Fprintf(c.out, "%s: fits on none of %d nodes\n", a.demand.name, len(a.trials))
		for i := range a.trials[:min(len(a.trials), mostTold)] {
			fmt.Fprintf(c.out, "  %s\n", &a.trials[i])
			c.tellWhy(&a.trials[i], a.demand, "    ")
		}
		if more := len(a.trials) - mostTold; more > 0 {
			fmt.Fprintf(c.out, "  and refused by %d more\n", more)
		}
	}
	return nil
}

func (c *call) tellWhy(t *trial, d *demand, indent string) {
	if t.before == nil || t.decision.Verdict != kubeletcpu.Refused || t.reason != t.decision.Reason {
		return
	}
	for _, sentence := range explain(t.before, &d.pod, t.decision) {
		fmt.Fprintf(c.out, "%s%s\n", indent, sentence)
	}
}

// tellMaps draws the nodes that are wanted, as the pods leave them.
func (s *situation) tellMaps(out io.Writer, wanted func(*machine) bool) {
	for _, m := range s.machines {
		if wanted(m) && m.node != nil {
			fmt.Fprintf(out, "\n%s\n%s", m.name, s.draw(m))
		}
	}
}

// draw is the map of a machine and who holds its CPUs.
func (s *situation) draw(m *machine) string {
	var holders []nodemap.Holder
	used := m.node.Reserved.Union(m.node.Shared)
	hold := func(name string, cpus cpuset.Set) {
		holders = append(holders, nodemap.Holder{Name: name, CPUs: cpus})
		used = used.Union(cpus)
	}
	for _, uid := range slices.Sorted(maps.Keys(m.granted)) {
		var cpus cpuset.Set
		for _, held := range m.granted[uid] {
			cpus = cpus.Union(held)
		}
		name, known := s.names[uid]
		if !known {
			name = "pod " + string(uid)
		}
		hold(name, cpus)
	}
	for _, h := range m.holders {
		hold(h.name, h.cpus)
	}
	missing := m.node.Topology.CPUs().Minus(used)
	if m.node.CPUManager.Policy == kubeletcpu.CPUManagerStatic && !missing.IsEmpty() {
		hold("in use, the report does not say by whom", missing)
	}
	return nodemap.Draw(m.node.Topology, m.node.Reserved, holders)
}

// count is "1 CPU" or "5 CPUs".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// enumerate is "a", "a and b", or "a, b and c".
func enumerate(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	last := len(parts) - 1
	return strings.Join(parts[:last], ", ") + " and " + parts[last]
}
