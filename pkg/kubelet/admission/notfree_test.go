// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// hybridNode has cores of different sizes. CPUs per core are 6/4 = 1 to the kubelet, so core 0-1 with one free CPU
// counts as free and is taken whole. Pods with a CPU each hold 2 and 0.
func hybridNode(t *testing.T, policy string) *Node {
	var cores []cputopology.Core
	for _, cpus := range []cpuset.Set{cpuset.Of(0, 1), cpuset.Of(4, 5), cpuset.Of(2), cpuset.Of(3)} {
		cores = append(cores, cputopology.Core{CPUs: cpus})
	}
	topology, err := cputopology.New(cores, cputopology.NUMANode{ID: 0})
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{Topology: topology, Minor: 36, CPUManager: cpumanager.Config{Policy: cpumanager.PolicyStatic},
		TopologyManager: topologymanager.Config{Policy: policy, Scope: topologymanager.ScopeContainer}, Reserved: cpuset.Of(3)}
	*n = n.Empty()
	for range 2 {
		n.Shared = Admit(n, podAsking("held", 1)).Shared
	}
	return n
}

// A pod in flight that alone would get CPUs that are not free is admitted by the kubelet, so a new pod harms it.
func TestHarmedWithCPUsNotFree(t *testing.T) {
	for _, policy := range []string{topologymanager.PolicyNone, topologymanager.PolicyRestricted} {
		n := hybridNode(t, policy)
		inFlight := podAsking("other", 3)
		if d := Admit(n, inFlight); d.Verdict != Admitted || d.NotFree.IsEmpty() {
			t.Fatalf("%s: in flight alone: %s, not free %q; want one that is admitted with CPUs that are not free", policy, d, d.NotFree)
		}
		if d := AdmitAfter(n, []*Pod{inFlight}, podAsking("new", 1)); d.Verdict != Wait {
			t.Errorf("%s: %s, want wait", policy, d)
		}
		if d := AdmitAfter(n, []*Pod{inFlight}, podAsking("new", 2)); d.Verdict != Refused {
			t.Errorf("%s, CPUs that are not free or too few: %s, want refused", policy, d)
		}
	}
}

// A pod that is refused half way gives back a CPU that another one holds. The next pod must not count on it.
func TestRefusedPodFreesHeldCPU(t *testing.T) {
	n := hybridNode(t, topologymanager.PolicyNone)
	half := podAsking("half", 2, 5)
	half.Containers[0].Kind = Init
	if d := Admit(n, half); d.Verdict != Refused || d.Shared == n.Shared {
		t.Fatalf("half: %s, shared pool %s; want it refused and the pool larger than %s", d, d.Shared, n.Shared)
	}
	for pod, want := range map[*Pod]string{
		podAsking("two", 2): "CPUsNotFree",
		podAsking("one", 1): "",
	} {
		if d := AdmitAfter(n, []*Pod{half}, pod); d.Reason != want && d.Verdict != Wait {
			t.Errorf("%s after it: %s, want reason %q", pod.Name, d, want)
		}
	}
}

// With strict-cpu-reservation the shared pool can become empty, and the kubelet does not start again then.
func TestLastSharedCPUs(t *testing.T) {
	n := newNode(t, twoNUMANodes, "strict-cpu-reservation=true", topologymanager.PolicyNone, topologymanager.ScopeContainer, "0,16")
	all := podAsking("all", 30)
	d := Admit(n, all)
	after := n.Granting(d.Grants)
	if d.Verdict != Admitted || after.Restarts(d.Grants) == "" {
		t.Fatalf("%s, restarts: %q; want admitted and no restart", d, after.Restarts(d.Grants))
	}
	for _, tc := range []struct {
		inFlight []*Pod
		cpus     int
		verdict  Verdict
		reason   string
	}{
		{nil, 30, Refused, ReasonLastShared},
		{nil, 29, Admitted, ""},
		{[]*Pod{podAsking("other", 10)}, 20, Wait, ""}, // whichever comes last takes them
		{[]*Pod{podAsking("other", 10)}, 19, Admitted, ""},
	} {
		d := AdmitAfter(n, tc.inFlight, podAsking("new", tc.cpus))
		if d.Verdict != tc.verdict || d.Reason != tc.reason {
			t.Errorf("%d CPUs with %d in flight: %s (%s), want %s %s", tc.cpus, len(tc.inFlight), d, d.Reason, tc.verdict, tc.reason)
		}
	}
}
