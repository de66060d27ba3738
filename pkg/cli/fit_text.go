package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/pkg/nodemap"
)

// mostTold is how many nodes' refusals of one pod are told; the others say little that is new.
const mostTold = 10

// tellAnswer writes what becomes of a pod for people.
func (c *call) tellAnswer(s *situation, a *answer) error {
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
		c.tellWhy(s, &a.trials[0], a.demand, "  ")
	default:
		fmt.Fprintf(c.out, "%s: fits on none of %d nodes\n", a.demand.name, len(a.trials))
		for i := range a.trials[:min(len(a.trials), mostTold)] {
			fmt.Fprintf(c.out, "  %s\n", &a.trials[i])
			c.tellWhy(s, &a.trials[i], a.demand, "    ")
		}
		if more := len(a.trials) - mostTold; more > 0 {
			fmt.Fprintf(c.out, "  and refused by %d more\n", more)
		}
	}
	return nil
}

// tellFlaw writes for people what is left out of the input.
func (c *call) tellFlaw(f *flaw) error {
	_, err := fmt.Fprintf(c.out, "left out: %v\n", f.err)
	return err
}

// tellWhy tells what stands against the pod, and what would help. Where the kubelet's other checks are made too
// (kubeletfit), what helps is left to the command explain, which looks at those as well.
func (c *call) tellWhy(s *situation, t *trial, d *demand, indent string) {
	if t.before == nil || t.decision.Verdict != kubeletcpu.Refused || t.reason != t.decision.Reason {
		return
	}
	why := explain.Of(&explain.Case{NodeName: t.machine.name, Node: t.before, Pod: d.pod, Neighbours: s.neighbours(t.machine, d)})
	fmt.Fprintf(c.out, "%s%s\n", indent, why.Facts)
	if why.Rule != "" {
		fmt.Fprintf(c.out, "%s%s\n", indent, why.Rule)
	}
	if t.machine.fit != nil {
		return
	}
	for _, hint := range why.Hints {
		fmt.Fprintf(c.out, "%sfits if %s\n", indent, hint.Text)
	}
}

// neighbours are the pods that hold CPUs of a machine, without the one that is asked about.
func (s *situation) neighbours(m *machine, d *demand) []explain.Neighbour {
	var there []explain.Neighbour
	for _, uid := range slices.Sorted(maps.Keys(m.granted)) {
		if uid != d.uid {
			there = append(there, explain.Neighbour{Name: s.nameOf(uid), CPUs: union(m.granted[uid])})
		}
	}
	for _, h := range m.holders {
		there = append(there, explain.Neighbour{Name: h.name, CPUs: h.cpus})
	}
	return there
}

// tellMaps draws the nodes that are wanted, as the pods leave them.
func (s *situation) tellMaps(out io.Writer, wanted map[string]bool) {
	for _, m := range s.machines {
		if wanted[m.name] && m.node != nil {
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
		hold(s.nameOf(uid), union(m.granted[uid]))
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
