// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/verdict"
)

// twoNUMA has NUMA nodes 0-3,8-11 and 4-7,12-15, cores {0,8} {1,9} ...
const twoNUMA = "2 sockets x 1 numa x 4 cores x 2 threads"

func node(machine, cpuManager, policy string, reserved ...int) *admission.Node {
	n := &admission.Node{Topology: cputopology.MustParse(machine), Minor: 36, Reserved: cpuset.Of(reserved...),
		CPUManager:      cpumanager.Config{Policy: "static"},
		TopologyManager: topologymanager.Config{Policy: policy, Scope: topologymanager.ScopeContainer}}
	n.CPUManager.Options.FullPCPUsOnly = cpuManager == "full-pcpus-only"
	*n = n.Empty()
	return n
}

func pod(cpus ...int) admission.Pod {
	p := admission.Pod{Name: "new", Guaranteed: true}
	for i, n := range cpus {
		p.Containers = append(p.Containers, admission.Container{Name: []string{"compute", "helper"}[i], CPUs: n})
	}
	return p
}

// setup is a node and a demand, by what matters in a test.
type setup struct {
	kubelet *admission.Node
	state   nodereport.State // of a node without kubelet
	why     string
	pods    []verdict.Pod
	amounts verdict.Amounts

	pod                             admission.Pod
	dedicated, unlabelled, estimate bool
	guest                           *placement.Guest
}

func (s *setup) question() question {
	q := question{node: verdict.Node{Name: "n", Labelled: !s.unlabelled, Amounts: s.amounts, State: s.state, Why: s.why, Kubelet: s.kubelet, Pods: s.pods}}
	if s.kubelet != nil {
		q.node.State = nodereport.Exact
		if s.kubelet.CPUManager.Policy != cpumanager.PolicyStatic {
			q.node.State = nodereport.NoCPUManager
		}
	}
	q.demand = verdict.Demand{Pod: s.pod, Dedicated: s.dedicated, NeedsLabel: s.dedicated, Estimate: s.estimate, Guest: s.guest, Compute: "compute"}
	if s.amounts.Counting != verdict.NotCounted {
		q.demand.Fractions = make([]int64, len(s.pod.Containers))
		q.demand.Overhead = 200
	}
	return q
}

// held puts pods on the node.
func held(s setup, cpus map[string]cpuset.Set) setup {
	for _, name := range []string{"VM vms/a", "VM vms/b", "VM vms/c"} {
		if set, has := cpus[name]; has {
			s.kubelet.Shared = s.kubelet.Shared.Minus(set)
			s.pods = append(s.pods, verdict.Pod{Name: name, Grants: []admission.Grant{{Container: "compute", CPUs: set}}, Millicores: 1000*int64(set.Len()) + 200})
		}
	}
	return s
}

func TestWords(t *testing.T) {
	aligned := func() *admission.Node { return node(twoNUMA, "full-pcpus-only", "single-numa-node") }
	counting := func(allocatable int64) verdict.Amounts {
		return verdict.Amounts{Allocatable: allocatable, Requested: 5000, Counting: verdict.CountedAlways}
	}
	old := aligned()
	old.Minor = 33
	gpu := pod(2)
	gpu.Name = "g"
	gpu.Containers[0].Devices = []devicemanager.Request{{Resource: "example.com/gpu", Count: 1}}
	for name, test := range map[string]struct {
		setup
		want string
	}{
		"no NUMA node has room": {
			held(setup{kubelet: aligned(), pod: pod(8)}, map[string]cpuset.Set{"VM vms/a": cpuset.Of(0, 8), "VM vms/b": cpuset.Of(4, 5, 12, 13)}),
			"n: 6 free CPUs in NUMA node 0 as 3 whole cores, 4 in NUMA node 1 as 2 whole cores; needs 4 whole cores in one NUMA node; " +
				"fits if the pod asks for 2 CPUs fewer (6 instead of 8), or if VM vms/a (2 CPUs) moves"},
		"half cores": {
			held(setup{kubelet: node("1 sockets x 1 numa x 4 cores x 2 threads", "", "restricted"), pod: pod(7)}, map[string]cpuset.Set{"VM vms/a": cpuset.Of(0, 1)}),
			"n: 6 free CPUs as 2 whole cores + 2 half cores; needs 7 CPUs; fits if the pod asks for 1 CPU fewer (6 instead of 7), or if VM vms/a (2 CPUs) moves"},
		"larger than any NUMA node": {setup{kubelet: aligned(), pod: pod(10)},
			"n: 8 free CPUs in NUMA node 0 as 4 whole cores, 8 in NUMA node 1 as 4 whole cores; needs 5 whole cores in one NUMA node, and the largest has 8 CPUs; " +
				"fits if the pod asks for 2 CPUs fewer (8 instead of 10), or if its kubelet has topology manager policy restricted"},
		"odd": {setup{kubelet: aligned(), pod: pod(3)},
			"n: 8 free CPUs in NUMA node 0 as 4 whole cores, 8 in NUMA node 1 as 4 whole cores; needs 3 CPUs, and gives whole cores of 2 only; " +
				"fits if the pod asks for 1 CPU fewer (2 instead of 3), or if the pod asks for 1 CPU more (4 instead of 3)"},
		"beside reserved CPUs": {setup{kubelet: node("1 sockets x 1 numa x 4 cores x 2 threads", "full-pcpus-only", "none", 0, 1), pod: pod(6)},
			"n: 6 free CPUs as 2 whole cores + 2 half cores; needs 3 whole cores, and CPUs 4-5, on cores with a reserved CPU, do not count; " +
				"fits if the pod asks for 2 CPUs fewer (4 instead of 6), or if its kubelet does not have option full-pcpus-only"},
		"two VMs of 4 with sidecars on 8": {
			held(setup{kubelet: node("1 sockets x 1 numa x 8 cores x 1 threads", "", "none"), pod: pod(4),
				amounts: verdict.Amounts{Allocatable: 8000, Requested: 4200, Counting: verdict.CountedAlways}}, map[string]cpuset.Set{"VM vms/a": cpuset.Of(0, 1, 2, 3)}),
			"n: 3800m of 8000m CPU left by count, of 4200m asked; fits if the pod asks for 1 CPU fewer (3 instead of 4), or if VM vms/a (4 CPUs) moves"},
		"the pod as a whole": {setup{kubelet: func() *admission.Node { n := aligned(); n.TopologyManager.Scope = "pod"; return n }(), pod: pod(8, 2)},
			"n: 8 free CPUs in NUMA node 0 as 4 whole cores, 8 in NUMA node 1 as 4 whole cores; the pod as a whole (compute 8, helper 2) needs 5 whole cores in one NUMA node, " +
				"and the largest has 8 CPUs; fits if container compute asks for 2 CPUs fewer (6 instead of 8), or if container helper asks for a fraction instead of 2 CPUs, and so runs in the shared pool"},
		"split threads": {held(setup{kubelet: node(twoNUMA, "", "none"), pod: pod(4), guest: &placement.Guest{VCPUs: 4, ThreadsPerCore: 2}},
			map[string]cpuset.Set{"VM vms/a": cpuset.Of(0, 1, 2, 3, 4, 5), "VM vms/b": cpuset.Of(6, 7, 14, 15)}),
			"n: its kubelet would admit the pod, but the granted CPUs (8-9,12-13) do not satisfy the VM: a guest core would be split: CPUs 8-9,12-13 hold 0 whole cores of 2 threads, and the guest needs 2; " +
				"fits if VM vms/b (4 CPUs) moves, or if VM vms/a (6 CPUs) moves"},
		"no label":  {setup{kubelet: aligned(), pod: pod(2), dedicated: true, unlabelled: true}, "n: has no label cpumanager=true; fits if the node has that label"},
		"no report": {setup{state: nodereport.Missing, pod: pod(2), dedicated: true}, "n: has no CPU report (NodeCPU); does corepin-agent run there?"},
		"estimated": {setup{state: nodereport.Missing, pod: pod(2), dedicated: true, estimate: true}, "n: fits, estimated by counting, since the node has no CPU report (NodeCPU); does corepin-agent run there?"},
		"estimated, with a count": {setup{state: nodereport.Inexact, why: "x", pod: pod(2), dedicated: true, estimate: true, amounts: counting(8000)},
			"n: fits, estimated by counting (3000m of 8000m CPU left, 2200m asked), since the node cannot be predicted: x"},
		"estimated, too few": {setup{state: nodereport.Missing, pod: pod(2), dedicated: true, estimate: true, amounts: counting(6000)},
			"n: 1000m of 6000m CPU left by count, of 2200m asked; estimated by counting, since the node has no CPU report (NodeCPU); does corepin-agent run there?"},
		"estimated of a report, too few": {setup{kubelet: old, pod: pod(2), dedicated: true, estimate: true, amounts: counting(6000)},
			"n: 1000m of 6000m CPU left by count, of 2200m asked; estimated by counting, since the node cannot be predicted: " + old.Inexact(pod(2))},
		"estimated for a pod in flight, too few": {
			setup{kubelet: aligned(), pods: []verdict.Pod{{Name: "a pod of another namespace", Asks: &gpu, InFlight: true}}, pod: pod(2), dedicated: true, estimate: true, amounts: counting(6000)},
			"n: 1000m of 6000m CPU left by count, of 2200m asked; estimated by counting, since the node cannot be predicted: a pod of another namespace in flight: the NUMA nodes of device example.com/gpu are not known"},
		"too few, and not to be estimated": {setup{state: nodereport.Missing, pod: pod(2), dedicated: true, amounts: counting(6000)},
			"n: 1000m of 6000m CPU left by count, of 2200m asked; besides, the node has no CPU report (NodeCPU); does corepin-agent run there?"},
		"too few for a pod that does not insist": {setup{state: nodereport.Missing, pod: pod(2), amounts: counting(6000)}, "n: 1000m of 6000m CPU left by count, of 2200m asked"},
		"no CPU manager":                         {setup{kubelet: &admission.Node{Topology: cputopology.MustParse(twoNUMA), CPUManager: cpumanager.Config{Policy: "none"}}, pod: pod(2), dedicated: true}, "n: its kubelet grants no exclusive CPUs: its CPU manager policy is none"},
		"it fits":                                {setup{kubelet: aligned(), pod: pod(2)}, "n: fits: compute 0,8"},
	} {
		q := test.question()
		if e := Of(&q.node, &q.demand); e.String() != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, e, test.want)
		}
	}
}

// What is known comes before what is estimated, and what can be helped before what cannot.
func TestBest(t *testing.T) {
	helped := []Hint{{}}
	all := []Explanation{
		{Node: "c", Missing: 1}, {Node: "a", Missing: 1, Estimated: true}, {Node: "d", Missing: 1, Hints: helped},
		{Node: "b", Fits: true, Estimated: true}, {Node: "e", Fits: true}, {Node: "f", Missing: 2, Hints: helped},
	}
	order := ""
	for _, e := range Best(all, 5) {
		order += e.Node
	}
	if order != "ebdca" {
		t.Errorf("got %s", order)
	}
}

func TestSummaryIsNeverTooLong(t *testing.T) {
	long := strings.Repeat("x", 200)
	e := Explanation{Node: "n", Facts: long, Hints: []Hint{{Text: long}, {Text: long}, {Text: long}}}
	three := []Explanation{e, e, e}
	for limit, want := range map[int]struct{ nodes, hints int }{5000: {3, 6}, 1400: {3, 3}, 1024: {2, 2}, 500: {1, 1}, 250: {1, 0}, 20: {0, 0}} {
		got := Summary("The pod asks for a lot:", three, limit)
		if nodes, hints := strings.Count(got, " n: "), strings.Count(got, "if x"); len(got) > limit || nodes != want.nodes || hints != want.hints {
			t.Errorf("limit %d: %d nodes and %d hints in %d bytes, want %+v", limit, nodes, hints, len(got), want)
		}
	}
}
