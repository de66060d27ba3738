// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/test/harness/bounds"
)

// TestBoundedTime looks for pods and machines on which a decision takes long. 24 NUMA nodes are real hardware, on which
// distribute-cpus-across-numa would try 3^24 combinations.
func TestBoundedTime(t *testing.T) {
	most := bounds.Instrumented(50 * time.Millisecond)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	decided := 0
	var longest time.Duration
	for _, n := range largeNodes(t) {
		for _, asked := range [][]int{{7}, {61}, {32, 61}, slices.Repeat([]int{1}, 20), slices.Repeat([]int{7}, 1000)} {
			p := podAsking("vm", asked...)
			if n.Inexact(*p) != "" {
				continue
			}
			for _, inFlight := range [][]*Pod{nil, {p, podAsking("other", 61), podAsking("third", 2)}} {
				before := bounds.CPUTime(t)
				d := AdmitAfter(n, inFlight, p)
				took := bounds.CPUTime(t) - before
				longest = max(longest, took)
				decided++
				if took > most {
					t.Errorf("%s, CPU manager %s, topology manager %s, %d in flight, %d containers of %v CPUs: %s took %s",
						n.Topology, n.CPUManager, n.TopologyManager, len(inFlight), len(asked), asked[0], d.Verdict, took)
				}
			}
		}
	}
	t.Logf("%d decisions, the longest took %s", decided, longest)
	if decided < 100 {
		t.Errorf("%d decisions only were not too long", decided)
	}
}

// largeNodes have many NUMA nodes, or many CPUs, and options that make a search long.
func largeNodes(t *testing.T) []*Node {
	var nodes []*Node
	for _, machine := range []string{"2 sockets x 5 numa x 8 cores x 2 threads", "4 sockets x 4 numa x 4 cores x 2 threads",
		"4 sockets x 6 numa x 5 cores x 2 threads", "8 sockets x 8 numa x 8 cores x 2 threads"} {
		for _, options := range []string{"", "distribute-cpus-across-numa=true", "distribute-cpus-across-numa=true align-by-socket=true"} {
			for _, policy := range []string{topologymanager.PolicyNone, topologymanager.PolicyBestEffort} {
				n := newNode(t, machine, options, policy, topologymanager.ScopeContainer, "0")
				n.TopologyManager.MaxAllowableNUMANodes = 64
				fragmented := *n
				for id := 1; id < n.Topology.CPUs().Len(); id += 3 {
					fragmented.Shared.Remove(id)
				}
				nodes = append(nodes, n, &fragmented)
			}
		}
	}
	return nodes
}

// What is too long alone is not exact, and what is too long in every order has to wait.
func TestTooLong(t *testing.T) {
	for _, tc := range []struct {
		numa    int
		cpus    int
		exact   bool
		inOrder bool // beside three others
	}{{4, 7, true, true}, {8, 7, true, false}, {12, 120, true, true}, {12, 67, false, false}, {24, 7, false, false}, {24, 1, true, true}} {
		text := fmt.Sprintf("1 sockets x %d numa x 10 cores x 1 threads", tc.numa)
		n := newNode(t, text, "distribute-cpus-across-numa=true", topologymanager.PolicyNone, topologymanager.ScopeContainer, "0")
		p := podAsking("vm", tc.cpus)
		if why := n.Inexact(*p); why == "" != tc.exact {
			t.Errorf("%s, %d CPUs: inexact %q", text, tc.cpus, why)
		}
		if !tc.exact {
			continue
		}
		others := []*Pod{podAsking("a", 1, tc.cpus), podAsking("b", tc.cpus, 1), podAsking("c", tc.cpus, tc.cpus)}
		got := AdmitAfter(n, others, p)
		if tooLong := strings.HasSuffix(got.Message, "takes too long"); tooLong == tc.inOrder {
			t.Errorf("%s, %d CPUs, three in flight: %s, want a decision %v", text, tc.cpus, got, tc.inOrder)
		}
	}
}
