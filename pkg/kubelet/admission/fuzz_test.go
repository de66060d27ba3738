// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"runtime"
	"testing"
	"time"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/test/harness/bounds"
)

// FuzzDecision holds every decision that is exact to 50 ms of one thread, whatever machine a report describes. Other
// decisions are not computed: callers ask Inexact first.
func FuzzDecision(f *testing.F) {
	f.Add("2 sockets x 1 numa x 8 cores x 2 threads", uint8(0), uint8(2), uint16(8), uint16(0), uint8(1), uint64(0))
	f.Add("4 sockets x 6 numa x 5 cores x 2 threads", uint8(0b100), uint8(0), uint16(7), uint16(3), uint8(2), uint64(0xf0f0))
	f.Add("1 sockets x 16 numa x 8 cores x 2 threads", uint8(0b110101), uint8(1), uint16(61), uint16(61), uint8(3), uint64(1))
	f.Add("8 sockets x 8 numa x 8 cores x 2 threads", uint8(0b100000), uint8(0), uint16(240), uint16(1), uint8(3), uint64(7))
	f.Add("s0 n0 u0: 0,4 1,5; s0 n1 u1: 2,6 3,7; s1 n3 u0: 8 9 10; n5:", uint8(0b11), uint8(3), uint16(3), uint16(2), uint8(0), uint64(2))
	// Pods in flight whose distribution over NUMA nodes is as much as may be spent at once, and one that starts with 63 of 64.
	f.Add("8 sockets x 8 numa x 8 cores x 2 threads", uint8(0b1100101), uint8(0), uint16(255), uint16(116), uint8(62), uint64(68))
	f.Add("8 sockets x 8 numa x 8 cores x 2 threads", uint8(0b100), uint8(0), uint16(1000), uint16(0), uint8(0), uint64(0))
	f.Fuzz(func(t *testing.T, machine string, options, policy uint8, cpus, others uint16, inFlight uint8, taken uint64) {
		most := bounds.Instrumented(50 * time.Millisecond)
		n, ok := fuzzedNode(machine, options, policy, taken)
		if !ok {
			return
		}
		p := podAsking("vm", int(cpus), int(others)%7)
		if n.Inexact(*p) != "" {
			return
		}
		var pods []*Pod
		for range inFlight % 5 {
			pods = append(pods, podAsking("other", int(others), int(cpus)%5))
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		before := bounds.CPUTime(t)
		d := AdmitAfter(n, pods, p)
		if took := bounds.CPUTime(t) - before; took > most {
			t.Errorf("%s\n%d in flight: %s took %s", n, len(pods), d, took)
		}
		if strange := d.Granted().Minus(n.Shared); d.Verdict == Admitted && !strange.IsEmpty() {
			t.Errorf("%s\n%d in flight: %s, of which %s are not free", n, len(pods), d, strange)
		}
	})
}

// fuzzedNode is a node of a machine, with some CPUs taken. It is not ok where there is no such machine.
func fuzzedNode(machine string, options, policy uint8, taken uint64) (*Node, bool) {
	topology, err := cputopology.Parse(machine)
	if err != nil {
		return nil, false
	}
	is := func(bit int) bool { return options>>bit&1 != 0 }
	policies := []string{topologymanager.PolicyNone, topologymanager.PolicyBestEffort, topologymanager.PolicyRestricted, topologymanager.PolicySingleNUMANode}
	n := &Node{
		Topology: topology,
		Minor:    34 + int(policy>>2)%4,
		CPUManager: cpumanager.Config{Policy: cpumanager.PolicyStatic, Options: cpumanager.Options{FullPCPUsOnly: is(0), StrictCPUReservation: is(1),
			DistributeCPUsAcrossNUMA: is(2), DistributeCPUsAcrossCores: is(3), AlignBySocket: is(4), PreferAlignCPUsByUncoreCache: is(5)}},
		TopologyManager: topologymanager.Config{Policy: policies[policy%4], Scope: topologymanager.ScopeContainer, MaxAllowableNUMANodes: 64},
	}
	if is(6) {
		n.TopologyManager.Scope = topologymanager.ScopePod
	}
	n.Reserved.Add(topology.CPUs().First())
	*n = n.Empty()
	for id := range topology.CPUs().All() {
		if taken>>(id*7%64)&1 != 0 && !n.Reserved.Has(id) {
			n.Shared.Remove(id)
		}
	}
	return n, true
}
