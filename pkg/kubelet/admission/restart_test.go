package admission

import (
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// full is a node whose only free CPUs, one core of them, are not enough for a second pod like p.
func full(minor int, policy string) (n *Node, p *Pod, held []Grant) {
	n = &Node{
		Topology:        cputopology.MustParse("1 sockets x 1 numa x 4 cores x 2 threads"),
		Minor:           minor,
		CPUManager:      cpumanager.Config{Policy: cpumanager.PolicyStatic, Options: cpumanager.Options{FullPCPUsOnly: true}},
		TopologyManager: topologymanager.Config{Policy: policy, Scope: topologymanager.ScopeContainer},
		Reserved:        cpuset.Of(0, 4),
	}
	*n = n.Empty()
	p = &Pod{Name: "vm", Guaranteed: true, Containers: []Container{{Name: "compute", CPUs: 4}}}
	d := Admit(n, p)
	n.Shared = d.Shared
	return n, p, d.Grants
}

func TestReadmit(t *testing.T) {
	for _, policy := range []string{topologymanager.PolicyNone, topologymanager.PolicyBestEffort, topologymanager.PolicyRestricted, topologymanager.PolicySingleNUMANode} {
		n, p, held := full(36, policy)
		if d := Readmit(n, p, held); d.Verdict != Refused || d.Reason != ReasonSMTAlignment || d.Shared != n.Topology.CPUs() {
			t.Errorf("1.36, %s: %s", policy, d)
		}
		n.Minor = 37
		if d := Readmit(n, p, held); d.Verdict != Admitted || d.Shared != n.Shared || d.Granted() != held[0].CPUs {
			t.Errorf("1.37, %s: %s", policy, d)
		}
		held[0].CPUs.Remove(held[0].CPUs.First())
		aligned := policy == topologymanager.PolicyRestricted || policy == topologymanager.PolicySingleNUMANode
		if d := Readmit(n, p, held); (d.Reason == ReasonTopologyAffinity) != aligned {
			t.Errorf("%s, one CPU fewer than asked for: %s", policy, d)
		}
	}
}

func TestRestarts(t *testing.T) {
	n, _, held := full(36, topologymanager.PolicyNone)
	for name, tc := range map[string]struct {
		change func(*Node)
		want   string
	}{
		"as it was":             {func(*Node) {}, ""},
		"nothing shared":        {func(n *Node) { n.Shared = cpuset.Set{} }, "default cpuset cannot be empty"},
		"reserved not shared":   {func(n *Node) { n.Shared.Remove(4) }, `not all reserved cpus: "0,4" are present in defaultCpuSet: "0,3,7"`},
		"strict, but shared":    {func(n *Node) { n.CPUManager.Options.StrictCPUReservation = true }, `some of strictly reserved cpus: "0,4" are present in defaultCpuSet: "0,3-4,7"`},
		"granted and shared":    {func(n *Node) { n.Shared.Add(1) }, `container: compute cpuset: "1-2,5-6" overlaps with default cpuset "0-1,3-4,7"`},
		"a CPU of unknown fate": {func(n *Node) { n.Shared.Remove(7) }, `current set of available CPUs "0-7" doesn't match with CPUs in state "0-6"`},
	} {
		changed := *n
		tc.change(&changed)
		if got := changed.Restarts(held); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
