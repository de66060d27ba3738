// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"runtime"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// The node of the benchmarks here and of test/conformance/kubelet136, which times the kubelet's own code.
func benchmarkNode(tb testing.TB) (*Node, *Pod) {
	cm, err := cpumanager.Parse(cpumanager.PolicyStatic, map[string]string{"full-pcpus-only": "true"})
	if err != nil {
		tb.Fatal(err)
	}
	n := &Node{
		Topology:        cputopology.MustParse("2 sockets x 1 numa x 32 cores x 2 threads"),
		Minor:           36,
		CPUManager:      cm,
		TopologyManager: topologymanager.Config{Policy: topologymanager.PolicySingleNUMANode, Scope: topologymanager.ScopeContainer},
		Reserved:        cpuset.Of(0, 64),
	}
	n.Shared = n.Topology.CPUs()
	for i := range 10 { // two cores here and there
		n.Shared = n.Shared.Minus(cpuset.Of(3*i+2, 3*i+3, 3*i+66, 3*i+67))
	}
	return n, &Pod{Name: "vm", Guaranteed: true, Containers: []Container{{Name: "compute", CPUs: 8}}}
}

func BenchmarkAdmit(b *testing.B) {
	n, p := benchmarkNode(b)
	b.ReportAllocs()
	for b.Loop() {
		if d := Admit(n, p); d.Verdict != Admitted {
			b.Fatal(d)
		}
	}
}

func BenchmarkAdmitRefused(b *testing.B) {
	n, p := benchmarkNode(b)
	p.Containers[0].CPUs = 66
	b.ReportAllocs()
	for b.Loop() {
		if d := Admit(n, p); d.Verdict != Refused {
			b.Fatal(d)
		}
	}
}

func BenchmarkAdmitAfterThreeInFlight(b *testing.B) {
	n, p := benchmarkNode(b)
	b.ReportAllocs()
	for b.Loop() {
		if d := AdmitAfter(n, []*Pod{p, p, p}, p); d.Verdict != Admitted {
			b.Fatal(d)
		}
	}
}

// 256 CPUs on 8 NUMA nodes, restricted, pod scope.
func BenchmarkAdmitLarge(b *testing.B) {
	n, p := benchmarkNode(b)
	n.Topology = cputopology.MustParse("2 sockets x 4 numa x 16 cores x 2 threads")
	n.TopologyManager = topologymanager.Config{Policy: topologymanager.PolicyRestricted, Scope: topologymanager.ScopePod}
	n.Shared = n.Topology.CPUs()
	p.Containers = []Container{{Name: "compute", CPUs: 40}}
	b.ReportAllocs()
	for b.Loop() {
		if d := Admit(n, p); d.Verdict != Admitted {
			b.Fatal(d)
		}
	}
}

// What a scheduler of 5,000 nodes of 128 CPUs holds of them: at worst, with a machine for each, and as it is
// (scheduler/nodes/machines.go), with one for all that are alike.
func BenchmarkMemoryOf5000Nodes(b *testing.B) {
	n, _ := benchmarkNode(b)
	text := n.Topology.String()
	for _, test := range []struct {
		name    string
		machine func() *cputopology.Topology
	}{
		{"a machine each", func() *cputopology.Topology { return cputopology.MustParse(text) }},
		{"one machine", func() *cputopology.Topology { return n.Topology }},
	} {
		b.Run(test.name, func(b *testing.B) { memoryOf5000Nodes(b, n, test.machine) })
	}
}

func memoryOf5000Nodes(b *testing.B, like *Node, machine func() *cputopology.Topology) {
	const most = 100e6 // 20 KB for each node: 64 cores, each with a set of up to 1,792 CPUs
	inUse := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	var bytes float64
	for b.Loop() {
		before := inUse()
		nodes := make([]*Node, 5000)
		for i := range nodes {
			node := *like
			node.Topology = machine()
			nodes[i] = &node
		}
		bytes = float64(inUse() - before)
		runtime.KeepAlive(nodes)
	}
	b.ReportMetric(bytes/1e6, "MB")
	if bytes > most {
		b.Errorf("5,000 nodes take %.1f MB, more than %.0f MB", bytes/1e6, most/1e6)
	}
}

func BenchmarkAdmitAfterOneInFlight(b *testing.B) {
	n, p := benchmarkNode(b)
	other := podAsking("other", 4, 0)
	b.ReportAllocs()
	for b.Loop() {
		if d := AdmitAfter(n, []*Pod{other}, p); d.Verdict != Admitted {
			b.Fatal(d)
		}
	}
}
