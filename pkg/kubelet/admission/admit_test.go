// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/test/harness/bounds"
)

// newNode is a node from texts, with nothing granted.
func newNode(t testing.TB, machine, cpuOptions, policy, scope, reserved string) *Node {
	t.Helper()
	cm, err := cpumanager.Parse(cpumanager.PolicyStatic, optionsOf(cpuOptions))
	if err != nil {
		t.Fatal(err)
	}
	tm, err := topologymanager.Parse(policy, scope, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{Topology: cputopology.MustParse(machine), Minor: 36, CPUManager: cm, TopologyManager: tm, Reserved: parse(t, reserved)}
	*n = n.Empty()
	return n
}

func parse(t testing.TB, list string) cpuset.Set {
	t.Helper()
	s, err := cpuset.Parse(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func podAsking(name string, cpus ...int) *Pod {
	p := &Pod{Name: name, Guaranteed: true}
	for i, n := range cpus {
		p.Containers = append(p.Containers, Container{Name: string(rune('a' + i)), CPUs: n})
	}
	return p
}

const twoNUMANodes = "2 sockets x 1 numa x 8 cores x 2 threads"

// What is exact is for test/conformance/kubelet136 to say; here is what a caller relies on besides.

func TestAdmitLeavesTheNodeAlone(t *testing.T) {
	n := newNode(t, twoNUMANodes, "full-pcpus-only=true", topologymanager.PolicySingleNUMANode, topologymanager.ScopeContainer, "0,16")
	before := *n
	d := Admit(n, podAsking("vm", 4, 2))
	if !reflect.DeepEqual(*n, before) {
		t.Errorf("Admit changed the node:\n%s\nwas\n%s", n, &before)
	}
	if want := "admitted: a 1-2,17-18, b 3,19"; d.String() != want {
		t.Errorf("got %q, want %q", d, want)
	}
	if got := d.Shared.String(); got != "0,4-16,20-31" {
		t.Errorf("shared pool afterwards: %s", got)
	}
	after := n.Granting(d.Grants)
	if after.Shared != d.Shared || !reflect.DeepEqual(after.Releasing(d.Grants, &Held{}), before) {
		t.Errorf("Granting and Releasing do not do what Admit did and undo it:\n%s", &after)
	}
}

func TestRefusalHoldsNothing(t *testing.T) {
	n := newNode(t, twoNUMANodes, "", topologymanager.PolicyNone, "", "0")
	d := Admit(n, podAsking("vm", 20, 20))
	if d.Verdict != Refused || d.Shared != n.Shared || d.Grants != nil {
		t.Errorf("a pod refused at its second container: %s, shared pool %s, was %s", d, d.Shared, n.Shared)
	}
}

func TestPreemptible(t *testing.T) {
	n := newNode(t, twoNUMANodes, "full-pcpus-only=true", topologymanager.PolicySingleNUMANode, topologymanager.ScopeContainer, "0,16")
	n.Shared = parse(t, "0-3,16-19")
	for _, tc := range []struct {
		what string
		cpus int
		want bool
	}{{"others have the room", 8, true}, {"odd number", 3, false}, {"more than a NUMA node", 18, false}} {
		if d := Admit(n, podAsking("vm", tc.cpus)); d.Verdict != Refused || d.Preemptible != tc.want {
			t.Errorf("%s: %s, preemptible %v, want %v", tc.what, d, d.Preemptible, tc.want)
		}
	}
}

func TestNobodyElseIsPinned(t *testing.T) {
	n := newNode(t, twoNUMANodes, "", topologymanager.PolicySingleNUMANode, topologymanager.ScopePod, "0")
	none := *n
	none.CPUManager = cpumanager.Config{Policy: cpumanager.PolicyNone}
	level := podAsking("level", 4)
	level.PodLevelResources = true
	for what, d := range map[string]Decision{
		"CPU manager none":   Admit(&none, podAsking("vm", 400)),
		"shared containers":  Admit(n, podAsking("vm", 0, 0)),
		"pod-level resource": Admit(n, level),
	} {
		if d.Verdict != Admitted || len(d.Grants) != 0 || d.Shared != n.Shared {
			t.Errorf("%s: %s, shared pool %s", what, d, d.Shared)
		}
	}
}

func TestNotFree(t *testing.T) {
	n := newNode(t, "s0 n0 u0: 0-1 2-3 4 5 6 7", "", topologymanager.PolicyNone, "", "7")
	n.Shared = parse(t, "1-3,7") // CPU 0 is someone's
	d := Admit(n, podAsking("vm", 2))
	if d.Verdict != Admitted || d.Granted() != cpuset.Of(0, 1) || d.NotFree != cpuset.Of(0) {
		t.Errorf("got %s, not free %s; want CPUs 0-1 with CPU 0 not free", d, d.NotFree)
	}
	d = AdmitAfter(n, nil, podAsking("vm", 2))
	if d.Verdict != Refused || d.Reason != ReasonNotFree || !strings.Contains(d.Message, "CPUs 0,") {
		t.Errorf("AdmitAfter let it pass: %s", d)
	}
}

func TestNodeText(t *testing.T) {
	n := newNode(t, twoNUMANodes, "full-pcpus-only=true", topologymanager.PolicyRestricted, topologymanager.ScopePod, "0,16")
	n.Shared = n.Shared.Minus(cpuset.Of(1, 17, 8, 24))
	want := `machine   2 sockets x 1 numa x 8 cores x 2 threads
kubelet   1.36, CPU manager static full-pcpus-only, topology manager restricted/pod, memory manager None
reserved  0,16
shared    0,2-7,9-16,18-23,25-31
free      numa0 2-7,18-23 (12 of 16) numa1 9-15,25-31 (14 of 16)`
	if got := n.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	want = "refused: TopologyAffinityError: Resources cannot be allocated with Topology locality"
	if got := Admit(n, podAsking("vm", 16)).String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	want += " (on the empty node too)"
	if got := Admit(n, podAsking("vm", 32)).String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReservedByCount(t *testing.T) {
	// The kubelet takes NUMA node 1, which is in both sockets, twice.
	const acrossSockets = "s0 n0 u0: 0; s0 n0 u0: 1; s0 n1 u0: 2; s1 n1 u0: 3; s1 n2 u0: 4; s1 n2 u0: 5; s1 n2 u0: 6; s1 n2 u0: 7"
	const threeSockets = "s0 n0 u0: 0,5; s0 n1 u0: 1,6; s1 n2 u0: 2,7; s1 n3 u0: 3,8; s2 n4 u0: 4,9"
	for _, tc := range []struct {
		machine, options string
		minor, n         int
		want             string // "" where the kubelet does not start
	}{
		{twoNUMANodes, "", 36, 1, "0"},
		{twoNUMANodes, "", 36, 2, "0,16"},
		{twoNUMANodes, "", 36, 3, "0-1,16"},
		{twoNUMANodes, "", 36, 16, "0-7,16-23"},
		{twoNUMANodes, "", 36, 32, "0-31"},
		{twoNUMANodes, "", 36, 33, ""},
		{acrossSockets, "", 36, 2, "0-1"},
		{acrossSockets, "", 36, 6, ""},
		{acrossSockets, "", 36, 8, ""},
		{twoNUMANodes, "distribute-cpus-across-cores=true", 36, 3, "0-2"},
		{threeSockets, "distribute-cpus-across-numa=true align-by-socket=true", 36, 4, "0,4-5,9"},
		{threeSockets, "distribute-cpus-across-numa=true align-by-socket=true", 37, 4, "0-1,5-6"},
	} {
		cm, err := cpumanager.Parse(cpumanager.PolicyStatic, optionsOf(tc.options))
		if err != nil {
			t.Fatal(err)
		}
		got, err := cpumanager.ReservedByCount(cputopology.MustParse(tc.machine), cm, tc.minor, tc.n)
		if got.String() != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("%d reserved by 1.%d with %q: %s (%v), want %s", tc.n, tc.minor, tc.options, got, err, tc.want)
		}
	}
}

// Kubelet 1.37.2 was seen not to return from this start, in a run of conformance-long, and 1.38.0-beta.0 not to return from an
// admission of as many CPUs on this machine.
func TestReservedForEver(t *testing.T) {
	machine := cputopology.MustParse("s0 n3 u3: 2; s1 n0 u1: 4; s1 n1 u1: 5; s1 n2 u1: 1; s1 n3 u3: 6; s2 n0 u3: 0; s2 n2 u1: 3; s2 n2 u3: 7")
	cm, err := cpumanager.Parse(cpumanager.PolicyStatic, optionsOf("full-pcpus-only=true strict-cpu-reservation=true distribute-cpus-across-numa=true"))
	if err != nil {
		t.Fatal(err)
	}
	for _, minor := range []int{37, 38} {
		got, err := cpumanager.ReservedByCount(machine, cm, minor, 5)
		if !errors.Is(err, cpumanager.ErrHangs) {
			t.Errorf("1.%d: reserved %q (%v), want %v", minor, got, err, cpumanager.ErrHangs)
		}
	}
}

// One allocation is the grants, the other what the pod holds besides CPUs. More would be paid for each node that a scheduler
// looks at.
func TestAllocations(t *testing.T) {
	dropped := 0.0
	if bounds.Raced {
		dropped = 20 // Under the race detector a sync.Pool drops some of what it is given.
	}
	n, p := benchmarkNode(t)
	if allocs := testing.AllocsPerRun(100, func() { Admit(n, p) }); allocs > 1+dropped {
		t.Errorf("an admission with CPUs only allocates %v times, want at most once", allocs)
	}
	n = besidesNode(t, topologymanager.PolicySingleNUMANode, topologymanager.ScopeContainer, [2]uint64{16, 16}, [2]int{4, 4})
	p = besidesPod("p", 4, 4, 1)
	if allocs := testing.AllocsPerRun(100, func() { Admit(n, p) }); allocs > 2+dropped {
		t.Errorf("an admission with memory and devices allocates %v times, want at most 2", allocs)
	}
}

func optionsOf(text string) map[string]string {
	options := map[string]string{}
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		options[name] = value
	}
	return options
}

// TestEndless is a node on which a kubelet's goroutine would never end, with its locks held. Two of four NUMA
// nodes have half cores, and the last six CPUs cannot come from those two in whole cores.
func TestEndless(t *testing.T) {
	n := newNode(t, "4 sockets x 1 numa x 4 cores x 2 threads", "full-pcpus-only=true distribute-cpus-across-numa=true",
		topologymanager.PolicyNone, "", "0,4")
	n.Shared = parse(t, "0-2,16-18,4-6,20-22,8-9,24-25,12-13,28-29")
	if d := Admit(n, podAsking("vm", 14)); d.Reason != ReasonEndless || !d.Preemptible {
		t.Errorf("got %s", d)
	}
	if d := Admit(n, podAsking("vm", 12)); d.Verdict != Admitted {
		t.Errorf("12 CPUs: got %s", d)
	}
}
