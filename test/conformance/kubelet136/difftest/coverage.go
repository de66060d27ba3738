// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// coverage counts admissions by what they were about and how they came out.
type coverage struct {
	admissions, scenarios, notStarted int
	cells                             map[string]map[string]int // row, outcome
}

var outcomes = []string{"granted", "shared pool", "Topology", "SMT parity", "SMT room", "no room", "accounting", "pod pool", "memory", "devices", "endless", "panic", "not free"}

// mixRow is the row of a scenario's policy, scope and managers.
func (s *scenario) mixRow() string {
	scope := s.scope
	if s.policy == topologymanager.PolicyNone {
		scope = "any scope"
	}
	return s.policy + ", " + scope + ", " + s.mix()
}

// mixRows are the rows of every policy, scope and mix of managers.
func mixRows() (rows []string) {
	for _, policy := range []string{topologymanager.PolicyNone, topologymanager.PolicyBestEffort, topologymanager.PolicyRestricted, topologymanager.PolicySingleNUMANode} {
		for _, scope := range []string{topologymanager.ScopeContainer, topologymanager.ScopePod} {
			for _, s := range []scenario{{memory: []MemoryNode{}}, {devices: []DeviceResource{}}, {memory: []MemoryNode{}, devices: []DeviceResource{}}} {
				s.policy = policy
				s.scope = scope
				if !slices.Contains(rows, s.mixRow()) {
					rows = append(rows, s.mixRow())
				}
			}
		}
	}
	return rows
}

// rows that every run of some length must have met with a grant.
var rows = slices.Concat(nodeRows, podLevelRows, mixRows())

var nodeRows = []string{
	"policy none", "policy best-effort", "policy restricted", "policy single-numa-node", "scope container", "scope pod",
	"no option", "full-pcpus-only", "strict-cpu-reservation", "distribute-cpus-across-numa", "distribute-cpus-across-cores",
	"align-by-socket", "prefer-align-cpus-by-uncorecache", "prefer-closest-numa-nodes", "max-allowable-numa-nodes",
	"SMT 1", "SMT 2", "SMT 4", "1 NUMA node", "2-4 NUMA nodes", "5-7 NUMA nodes", "8 NUMA nodes", "NUMA node without CPUs", "gaps in NUMA ids",
	"sockets > NUMA", "sockets = NUMA", "sockets < NUMA", "NUMA nodes unlike", "CPUs offline", "hybrid cores", "512 CPUs",
	"half cores reserved", "reserved by count", "several containers", "init container", "sidecar", "mixed with shared",
	"huge pages", "memory of several NUMA nodes", "memory of an init container", "devices with a NUMA node", "devices without NUMA node",
	"devices of a burstable pod", "no device asked for", "devices used again", "devices that only the kubelet knows",
	"again after a restart", "memory again after a restart", "devices again after a restart",
}

var podLevelRows = []string{"gate PodLevelResourceManagers", "pod as one", "pod-level, container by container", "pod as one again"}

func outcome(d admission.Decision) string {
	switch {
	case d.Reason == admission.ReasonEndless:
		return "endless"
	case d.Reason == admission.ReasonPanic:
		return "panic"
	case d.Reason == admission.ReasonEmptySharedPool:
		return "pod pool"
	case d.Reason == admission.ReasonTopologyAffinity:
		return "Topology"
	case strings.Contains(d.Message, "not multiple"):
		return "SMT parity"
	case d.Reason == admission.ReasonSMTAlignment:
		return "SMT room"
	case strings.Contains(d.Message, "accounting"):
		return "accounting"
	case strings.Contains(d.Message, "[memorymanager]"):
		return "memory"
	case strings.Contains(d.Message, "devices"):
		return "devices"
	case d.Verdict == admission.Refused:
		return "no room"
	case !d.NotFree.IsEmpty():
		return "not free"
	case len(d.Grants) == 0 && d.Held.IsEmpty():
		return "shared pool"
	}
	return "granted"
}

func (c *coverage) count(s scenario, p admission.Pod, d admission.Decision, again bool) {
	found := []string{"again after a restart"}
	asOne := s.podLevel && p.PodLevel != nil && s.scope == topologymanager.ScopePod && s.policy != topologymanager.PolicyNone
	switch {
	case !again:
		c.admissions++
		found = append(append(rowsOfNode(s), rowsOfMachine(s.machine)...), rowsOfPod(p)...)
		found = append(found, rowsOfHeld(p, &d.Held)...)
		if asOne {
			found = append(found, "pod as one")
		} else if s.podLevel && p.PodLevel != nil {
			found = append(found, "pod-level, container by container")
		}
	case asOne:
		found = append(found, "pod as one again")
	case !d.Held.IsEmpty():
		if len(d.Held.Memory) > 0 {
			found = append(found, "memory again after a restart")
		}
		if len(d.Held.Devices) > 0 {
			found = append(found, "devices again after a restart")
		}
	}
	for _, row := range found {
		if c.cells == nil {
			c.cells = map[string]map[string]int{}
		}
		if c.cells[row] == nil {
			c.cells[row] = map[string]int{}
		}
		c.cells[row][outcome(d)]++
	}
}

func rowsOfNode(s scenario) []string {
	found := []string{"policy " + s.policy}
	if s.policy != topologymanager.PolicyNone {
		found = append(found, "scope "+s.scope)
	}
	found = append(found, s.cpuOptions...)
	if len(s.cpuOptions) == 0 {
		found = append(found, "no option")
	}
	if s.memory != nil || s.devices != nil {
		found = append(found, s.mixRow())
	}
	for _, option := range s.topologyOptions {
		name, _, _ := strings.Cut(option, "=")
		if s.policy == topologymanager.PolicyBestEffort || s.policy == topologymanager.PolicyRestricted {
			found = append(found, name)
		}
	}
	if slices.ContainsFunc(s.machine.Cores(), func(c cputopology.Core) bool {
		return c.CPUs.Overlaps(s.reserved) && !c.CPUs.SubsetOf(s.reserved)
	}) {
		found = append(found, "half cores reserved")
	}
	if s.reservedCount > 0 {
		found = append(found, "reserved by count")
	}
	if s.podLevel {
		found = append(found, "gate "+podLevelGate)
	}
	return found
}

func rowsOfMachine(m *cputopology.Topology) []string {
	nodes := m.NUMANodes()
	numa, sockets := len(nodes), len(m.Sockets())
	found := []string{fmt.Sprintf("SMT %d", m.ThreadsPerCore()),
		[]string{"sockets < NUMA", "sockets = NUMA", "sockets > NUMA"}[1+sign(sockets-numa)]}
	switch {
	case numa == 1:
		found = append(found, "1 NUMA node")
	case numa <= 4:
		found = append(found, "2-4 NUMA nodes")
	case numa < 8:
		found = append(found, "5-7 NUMA nodes")
	default:
		found = append(found, "8 NUMA nodes")
	}
	empty, unlike := false, false
	for i := range nodes {
		empty = empty || nodes[i].CPUs.IsEmpty()
		unlike = unlike || nodes[i].CPUs.Len() != nodes[0].CPUs.Len() && !nodes[i].CPUs.IsEmpty()
	}
	all := m.CPUs().List()
	offline := all[len(all)-1] >= len(all)
	hybrid := slices.ContainsFunc(m.Cores(), func(c cputopology.Core) bool { return c.CPUs.Len() != m.ThreadsPerCore() })
	for _, row := range []struct {
		name string
		is   bool
	}{
		{"NUMA node without CPUs", empty}, {"gaps in NUMA ids", nodes[numa-1].ID >= numa}, {"NUMA nodes unlike", unlike},
		{"CPUs offline", offline}, {"hybrid cores", hybrid && !offline}, {"512 CPUs", len(all) >= 512},
	} {
		if row.is {
			found = append(found, row.name)
		}
	}
	return found
}

func rowsOfPod(p admission.Pod) []string {
	var found []string
	exclusive, shared, kinds := 0, 0, [3]bool{}
	for _, c := range p.Containers {
		if c.CPUs == 0 {
			shared++
			continue
		}
		exclusive++
		kinds[c.Kind] = true
	}
	if exclusive > 1 {
		found = append(found, "several containers")
	}
	if kinds[admission.Init] {
		found = append(found, "init container")
	}
	if kinds[admission.Sidecar] {
		found = append(found, "sidecar")
	}
	if exclusive > 0 && shared > 0 {
		found = append(found, "mixed with shared")
	}
	return found
}

// rowsOfHeld are the rows of what a pod got besides CPUs.
func rowsOfHeld(p admission.Pod, held *admission.Held) []string {
	var found []string
	row := func(is bool, name string) {
		if is && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	for _, h := range held.Memory {
		row(h.Type != "memory", "huge pages")
		row(h.NUMANodes.Len() > 1, "memory of several NUMA nodes")
		row(h.Init, "memory of an init container")
	}
	for _, h := range held.Devices {
		row(h.NUMANodes != 0, "devices with a NUMA node")
		row(h.NUMANodes == 0, "devices without NUMA node")
		row(h.NUMANodes != 0 && !p.Guaranteed, "devices of a burstable pod")
		row(h.Again > 0, "devices used again")
		row(h.Unsure, "devices that only the kubelet knows")
	}
	for _, c := range p.Containers {
		for _, r := range c.Devices {
			row(r.Count == 0, "no device asked for")
		}
	}
	return found
}

func sign(n int) int { return max(-1, min(1, n)) }

func (c *coverage) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%d admissions\t%s\t\n", c.admissions, strings.Join(outcomes, "\t"))
	for _, row := range rows {
		fmt.Fprintf(w, "%s\t", row)
		for _, outcome := range outcomes {
			fmt.Fprintf(w, "%d\t", c.cells[row][outcome])
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	fmt.Fprintf(&b, "%d scenarios, in %d of them the kubelet does not start", c.scenarios, c.notStarted)
	return b.String()
}

// missing are the corners that no admission met: rows without a grant, and outcomes that the kubelet can
// give to any node but that never came.
func (c *coverage) missing(podLevel bool) []string {
	var missing []string
	for _, row := range rows {
		if c.cells[row]["granted"] == 0 && (podLevel || !slices.Contains(podLevelRows, row)) {
			missing = append(missing, row+": granted")
		}
	}
	outcomes := []string{"shared pool", "Topology", "SMT parity", "SMT room", "no room", "memory", "devices", "panic"}
	if podLevel {
		outcomes = append(outcomes, "pod pool")
	}
	for _, outcome := range outcomes {
		if !slices.ContainsFunc(rows, func(row string) bool { return c.cells[row][outcome] > 0 }) {
			missing = append(missing, outcome)
		}
	}
	return missing
}
