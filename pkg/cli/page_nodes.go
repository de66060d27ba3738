// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/page"
	"corepin.dev/corepin/pkg/verdict"
)

// addNodes adds all nodes in the order of everyNode. Equal machines are added once.
func (s *snapshot) addNodes(p *page.Page) {
	known := map[string]int{}
	for _, m := range s.everyNode() {
		object := s.nodes[m.name]
		n := page.Node{Name: harmless(m.name), Machine: -1, Notes: m.pageNotes(object)}
		n.State, n.Why = m.pageState(object)
		if m.report.Node != nil {
			described := pageMachine(m)
			key := jsonOf(described)
			at, is := known[key]
			if !is {
				at = len(p.Machines)
				known[key] = at
				p.Machines = append(p.Machines, described)
			}
			n.Machine = at
			n.Usable = m.report.Node.Topology.CPUs().Minus(m.report.Node.Reserved).Len()
			if m.report.State != nodereport.NoCPUManager {
				n.Taken = n.Usable - m.report.Node.Free().Len()
			}
			n.Holders = m.pageHolders()
			n.NUMANodes, n.Besides = m.pageAmounts()
		}
		p.Nodes = append(p.Nodes, n)
	}
}

// pageState is how far the node can be predicted, and why no further.
func (m *machine) pageState(object *corev1.Node) (page.State, string) {
	switch {
	case m.silent:
		return page.Silent, "the node is " + nodereport.NotHeard(m.since) + "; what is shown is as of then"
	case object != nil && !verdict.Labelled(object):
		return page.Unlabelled, "has no label cpumanager=true"
	case m.report.State == nodereport.NoCPUManager:
		return page.Unlabelled, harmless(m.report.Why)
	case m.report.State == nodereport.Exact:
		return page.Exact, ""
	}
	return page.Estimated, harmless(m.report.Why)
}

// pageMachine is what equal nodes have in common.
func pageMachine(m *machine) page.Machine {
	node := m.report.Node
	topology := node.Topology
	described := page.Machine{Reserved: node.Reserved.String(), CPUs: topology.CPUs().Len(), CachesKnown: true, Places: []page.Place{}}
	for line := range strings.Lines(node.String()) {
		if strings.HasPrefix(line, "machine") || strings.HasPrefix(line, "kubelet") {
			described.Text = append(described.Text, harmless(strings.Join(strings.Fields(line), " ")))
		}
	}
	for _, numa := range topology.NUMANodes() {
		described.NUMANodes = append(described.NUMANodes, numa.ID)
	}
	cores := slices.Clone(topology.Cores())
	slices.SortStableFunc(cores, func(a, b cputopology.Core) int {
		return slices.Compare([]int{a.Socket, a.NUMANode, a.UncoreCache, a.ID}, []int{b.Socket, b.NUMANode, b.UncoreCache, b.ID})
	})
	sockets := map[int]int{} // by cache
	for _, core := range cores {
		last := len(described.Places) - 1
		if last < 0 || described.Places[last].Socket != core.Socket || described.Places[last].NUMANode != core.NUMANode || described.Places[last].Cache != core.UncoreCache {
			described.Places = append(described.Places, page.Place{Socket: core.Socket, NUMANode: core.NUMANode, Cache: core.UncoreCache})
			last++
		}
		described.Places[last].Cores = append(described.Places[last].Cores, core.CPUs.String())
		socket, seen := sockets[core.UncoreCache]
		if seen && socket != core.Socket {
			described.CachesKnown = false // a report that does not have them
		}
		sockets[core.UncoreCache] = core.Socket
	}
	for _, name := range slices.Sorted(maps.Keys(m.tuning)) {
		described.Settings = append(described.Settings, harmless(name+"="+m.tuning[name]))
	}
	return described
}

// pageHolders are who holds what.
func (m *machine) pageHolders() []page.Holder {
	reported := map[types.UID]*v1alpha1.PodGrant{}
	if m.source != nil {
		for i := range m.source.Status.Granted {
			reported[m.source.Status.Granted[i].PodUID] = &m.source.Status.Granted[i]
		}
	}
	var all []page.Holder
	for _, uid := range m.holders() {
		grants := m.report.Granted[uid]
		held := m.report.Held[uid]
		h := page.Holder{Name: harmless(m.nameOf(uid)), CPUs: m.cpusOf(uid).String(), InFlight: slices.Contains(m.admitted, uid)}
		h.Besides = harmless(heldBesides(m.report.Node.Topology, &held, grants))
		if len(grants) > 1 {
			h.Containers = harmless(grantTexts(grants))
		}
		grant := reported[uid]
		if grant != nil {
			h.Pins = harmless(grant.Pins)
			h.Waits = harmless(grant.Waits)
			h.SharedWith = harmless(grant.SharedWith)
		}
		all = append(all, h)
	}
	missing := m.unnamed()
	if !missing.IsEmpty() {
		all = append(all, page.Holder{Name: unnamedHolder, CPUs: missing.String()})
	}
	return all
}

// grantTexts says which container has which CPUs: "compute 1-4, sidecar 5".
func grantTexts(grants []admission.Grant) string {
	var texts []string
	for _, grant := range grants {
		texts = append(texts, grant.Container+" "+grant.CPUs.String())
	}
	return strings.Join(texts, ", ")
}

// pageAmounts says what memory, huge pages and devices are free on each NUMA node, and besides on none or several.
func (m *machine) pageAmounts() (numaNodes, besides []string) {
	node := m.report.Node
	topology := node.Topology
	texts := make([][]string, len(topology.NUMANodes()))
	for i, numa := range topology.NUMANodes() {
		texts[i] = m.memoryOf(i, numa.ID)
	}
	if node.Devices != nil {
		for i := range node.Devices.Resources {
			r := &node.Devices.Resources[i]
			if r.Unknown != "" {
				besides = append(besides, harmless(r.Name+" is not known: "+r.Unknown))
			}
			for _, g := range r.Groups {
				text := fmt.Sprintf("%d of %d %s free", g.Free, g.Healthy, r.Name)
				switch {
				case g.NUMANodes == 0:
					besides = append(besides, harmless(text+", of no NUMA node"))
				case g.NUMANodes.Rest() == 0:
					texts[g.NUMANodes.First()] = append(texts[g.NUMANodes.First()], text)
				default:
					besides = append(besides, harmless(text+", of "+numaText(topology, g.NUMANodes)))
				}
			}
		}
	}
	known := false
	for _, parts := range texts {
		known = known || len(parts) > 0
		numaNodes = append(numaNodes, harmless(strings.Join(parts, "; ")))
	}
	if !known {
		numaNodes = nil
	}
	return numaNodes, besides
}

// memoryOf says how much memory of a NUMA node is free by the memory manager's state, or else which huge pages by the kernel.
func (m *machine) memoryOf(index, id int) []string {
	node := m.report.Node
	var texts []string
	if node.MemoryManager == memorymanager.PolicyStatic && node.Memory != nil {
		for k, amount := range node.Memory.NUMANodes[index].Memory {
			if amount.Allocatable == 0 {
				continue
			}
			texts = append(texts, fmt.Sprintf("%s of %s %s free", explain.Gibibytes(amount.Free), explain.Gibibytes(amount.Allocatable), node.Memory.Types[k]))
		}
		return texts
	}
	if m.source == nil {
		return nil
	}
	for _, numa := range m.source.Status.NUMANodes {
		for _, pages := range numa.HugePages {
			if int(numa.ID) == id && pages.Pages > 0 {
				texts = append(texts, fmt.Sprintf("%d of %d %s free", pages.Free, pages.Pages, pages.Type))
			}
		}
	}
	return texts
}

// pageNotes are what a reader should know of a node.
func (m *machine) pageNotes(object *corev1.Node) []page.Note {
	var notes []page.Note
	add := func(kind, text string) {
		if text != "" {
			notes = append(notes, page.Note{Kind: kind, Text: harmless(text)})
		}
	}
	if m.source != nil {
		drifted := meta.FindStatusCondition(m.source.Status.Conditions, v1alpha1.ConditionDrifted)
		if drifted != nil && drifted.Status == metav1.ConditionTrue {
			add(page.Drift, "drifted: "+drifted.Message)
		}
	}
	if m.others != "" {
		add(page.Sharing, "others: "+m.others)
	}
	if m.restart != "" {
		add(page.Restart, "restart: "+m.restart)
	}
	if m.report.Node != nil {
		siblings := m.siblings()
		if siblings != "" {
			add(page.Siblings, "siblings: "+siblings)
		}
	}
	if object == nil {
		return notes
	}
	if object.Spec.Unschedulable {
		add(page.Closed, "is cordoned (spec.unschedulable)")
	}
	for _, taint := range object.Spec.Taints {
		if taint.Effect != corev1.TaintEffectPreferNoSchedule && taint.Key != corev1.TaintNodeUnschedulable {
			add(page.Closed, "has taint "+taint.ToString())
		}
	}
	return notes
}
