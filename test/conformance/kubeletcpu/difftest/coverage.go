package difftest

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"corepin.dev/corepin/pkg/kubeletcpu"
)

// coverage counts admissions by what they were about and how they came out.
type coverage struct {
	admissions, scenarios, notStarted int
	cells                             map[string]map[string]int // row, outcome
}

var outcomes = []string{"granted", "shared pool", "Topology", "SMT parity", "SMT room", "no room", "accounting", "endless", "not free"}

// rows that every run of some length must have met with a grant.
var rows = []string{
	"policy none", "policy best-effort", "policy restricted", "policy single-numa-node", "scope container", "scope pod",
	"no option", "full-pcpus-only", "strict-cpu-reservation", "distribute-cpus-across-numa", "distribute-cpus-across-cores",
	"align-by-socket", "prefer-align-cpus-by-uncorecache", "prefer-closest-numa-nodes", "max-allowable-numa-nodes",
	"SMT 1", "SMT 2", "SMT 4", "1 NUMA node", "2-4 NUMA nodes", "5+ NUMA nodes", "sockets > NUMA", "sockets = NUMA", "sockets < NUMA",
	"cores unlike", "half cores reserved", "reserved by count", "several containers", "init container", "sidecar", "mixed with shared",
	"again after a restart",
}

func outcome(d kubeletcpu.Decision) string {
	switch {
	case d.Reason == kubeletcpu.ReasonEndless:
		return "endless"
	case d.Reason == kubeletcpu.ReasonTopologyAffinity:
		return "Topology"
	case strings.Contains(d.Message, "not multiple"):
		return "SMT parity"
	case d.Reason == kubeletcpu.ReasonSMTAlignment:
		return "SMT room"
	case strings.Contains(d.Message, "accounting"):
		return "accounting"
	case d.Verdict == kubeletcpu.Refused:
		return "no room"
	case !d.NotFree.IsEmpty():
		return "not free"
	case len(d.Grants) == 0:
		return "shared pool"
	}
	return "granted"
}

func (c *coverage) count(s scenario, p kubeletcpu.Pod, d kubeletcpu.Decision, again bool) {
	found := []string{"again after a restart"}
	if !again {
		c.admissions++
		found = append(rowsOfNode(s), rowsOfPod(p)...)
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
	if s.policy != kubeletcpu.TopologyNone {
		found = append(found, "scope "+s.scope)
	}
	found = append(found, s.cpuOptions...)
	if len(s.cpuOptions) == 0 {
		found = append(found, "no option")
	}
	for _, option := range s.topologyOptions {
		name, _, _ := strings.Cut(option, "=")
		if s.policy == kubeletcpu.TopologyBestEffort || s.policy == kubeletcpu.TopologyRestricted {
			found = append(found, name)
		}
	}
	numa, sockets := len(s.machine.NUMANodes()), len(s.machine.Sockets())
	found = append(found, fmt.Sprintf("SMT %d", s.machine.ThreadsPerCore()), []string{"sockets < NUMA", "sockets = NUMA", "sockets > NUMA"}[1+sign(sockets-numa)])
	switch {
	case numa == 1:
		found = append(found, "1 NUMA node")
	case numa <= 4:
		found = append(found, "2-4 NUMA nodes")
	default:
		found = append(found, "5+ NUMA nodes")
	}
	half := false
	for _, core := range s.machine.Cores() {
		if core.CPUs.Len() != s.machine.ThreadsPerCore() && !slices.Contains(found, "cores unlike") {
			found = append(found, "cores unlike")
		}
		half = half || core.CPUs.Overlaps(s.reserved) && !core.CPUs.SubsetOf(s.reserved)
	}
	if half {
		found = append(found, "half cores reserved")
	}
	if s.reservedCount > 0 {
		found = append(found, "reserved by count")
	}
	return found
}

func rowsOfPod(p kubeletcpu.Pod) []string {
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
	if kinds[kubeletcpu.Init] {
		found = append(found, "init container")
	}
	if kinds[kubeletcpu.Sidecar] {
		found = append(found, "sidecar")
	}
	if exclusive > 0 && shared > 0 {
		found = append(found, "mixed with shared")
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
func (c *coverage) missing() []string {
	var missing []string
	for _, row := range rows {
		if c.cells[row]["granted"] == 0 {
			missing = append(missing, row+": granted")
		}
	}
	for _, outcome := range []string{"shared pool", "Topology", "SMT parity", "SMT room", "no room"} {
		if !slices.ContainsFunc(rows, func(row string) bool { return c.cells[row][outcome] > 0 }) {
			missing = append(missing, outcome)
		}
	}
	return missing
}
