// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"runtime"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
)

func TestEqualMachinesAreKeptOnce(t *testing.T) {
	a, b := reportOf(t, nil), reportOf(t, grants{"a": compute("1,9")})
	if a.Node.Topology != b.Node.Topology {
		t.Error("two nodes of one type have a topology each")
	}
	far, err := cputopology.New(a.Node.Topology.Cores(), cputopology.NUMANode{ID: 0, Distances: []int{10, 40}}, cputopology.NUMANode{ID: 1, Distances: []int{40, 10}})
	if err != nil {
		t.Fatal(err)
	}
	if shared.machine(far) != far {
		t.Error("machines that differ in their distances are taken for one")
	}
	runtime.KeepAlive(a)
}

// Types of machine of which no node is left are forgotten.
func TestMachinesAreForgotten(t *testing.T) {
	m := newMachines()
	for cores := 1; cores <= 500; cores++ {
		topology, err := cputopology.Shape{Sockets: 1, NUMAPerSocket: 1, CoresPerNUMA: cores, ThreadsPerCore: 1}.Topology()
		if err != nil {
			t.Fatal(err)
		}
		m.machine(topology)
		if cores%50 == 0 {
			runtime.GC()
		}
	}
	if len(m.known) > 200 {
		t.Errorf("%d of 500 machines are remembered, and none is in use", len(m.known))
	}
}

// What the scheduler keeps of 5,000 nodes of 128 CPUs, 8 VMs on each, after predictions for three sizes of VM.
func BenchmarkMemoryOf5000Nodes(b *testing.B) {
	const most = 100e6
	inUse := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	nc := nodeCPU(nil)
	nodereport.SetTopology(&nc.Status, cputopology.MustParse("2 sockets x 1 numa x 32 cores x 2 threads"))
	nc.Status.ReservedCPUs, nc.Status.SharedCPUs = "0,64", "0,33-64,97-127"
	granted := grants{}
	for i := range 8 {
		granted[types.UID(fmt.Sprintf("9e2bdbd5-0000-4000-8000-00000000000%d", i))] = compute(fmt.Sprintf("%d-%d,%d-%d", 4*i+1, 4*i+4, 4*i+65, 4*i+68))
	}
	nodereport.SetGranted(&nc.Status, granted)
	for b.Loop() {
		before := inUse()
		v := newView()
		for i := range 5000 {
			nc.Name = fmt.Sprintf("node-%d", i)
			report := Decode(object(b, nc)).Report
			if report.State != nodereport.Exact {
				b.Fatal(report.Why)
			}
			v.Set("n1", report)
			info := nodeInfo()
			info.SetNode(st.MakeNode().Name(nc.Name).Obj())
			for _, size := range []string{"2", "4", "8"} {
				v.predict(demand(vm("new", size)), info)
			}
		}
		used := float64(inUse() - before)
		b.ReportMetric(used/1e6, "MB")
		if used > most {
			b.Errorf("5,000 nodes take %.1f MB, more than %.0f MB", used/1e6, most/1e6)
		}
		runtime.KeepAlive(v)
	}
}
