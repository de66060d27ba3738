// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

func TestAdmitAfter(t *testing.T) {
	small, large := podAsking("small", 6), podAsking("large", 14)
	two, shared := podAsking("two", 2), podAsking("shared", 0)
	for _, tc := range []struct {
		what, shared string
		inFlight     []*Pod
		pod          *Pod
		want         string
	}{
		{"nothing in flight", "0-31", nil, small, "admitted: a 1-3,17-19"},
		{"only shared pods in flight", "0-31", []*Pod{shared, shared, shared, shared}, small, "admitted: a 1-3,17-19"},
		{"a shared pod asks", "0-31", []*Pod{small, small, small, small}, shared, "admitted"},
		{"each order gives other CPUs", "0-31", []*Pod{two}, podAsking("vm", 2), "admitted"},
		{"each order gives the same CPUs", "0,1,9,17,24-31", []*Pod{podAsking("six", 6)}, two, "admitted: a 1,17"},
		// Free are 14 on NUMA node 0 and 8 on NUMA node 1: the large pod fits only the first, where the
		// small one would go if it came before.
		{"the small one may come first", "0-7,8-11,16-23,24-27", []*Pod{small}, large, "wait: in some order of admission the kubelet would refuse the pod: "},
		{"the one in flight would suffer", "0-7,8-11,16-23,24-27", []*Pod{large}, small, "wait: in some order of admission the kubelet would refuse pod large"},
		{"no order helps", "0-3,16-19", []*Pod{two}, large, "refused: TopologyAffinityError"},
		{"one in flight is refused anyway", "0-3,16-19", []*Pod{large}, two, "admitted: a 1,17"},
		{"three in flight", "0-31", []*Pod{two, two, two}, two, "admitted"},
		{"fourteen in flight, and room for one more", "0-31", slices.Repeat([]*Pod{two}, 14), two, "admitted"},
		{"fifteen in flight", "0-31", slices.Repeat([]*Pod{two}, 15), two, "wait: in some order"},
		{"six sizes in flight", "0-31", []*Pod{two, podAsking("3", 3), podAsking("4", 4), podAsking("1", 1), podAsking("5", 5), small}, two, "admitted"},
		{"thirteen sizes in flight", "0-31", sizes(13), two, "wait: 13 pods are in flight to a node with 2 NUMA nodes"},
	} {
		n := newNode(t, twoNUMANodes, "", topologymanager.PolicySingleNUMANode, topologymanager.ScopeContainer, "0,16")
		n.Shared = parse(t, tc.shared).Union(n.Reserved)
		got := AdmitAfter(n, tc.inFlight, tc.pod)
		if !strings.HasPrefix(got.String(), tc.want) || tc.want == "admitted" && got.String() != tc.want {
			t.Errorf("%s: %q, want %q", tc.what, got, tc.want)
		}
	}
}

// sizes are pods of different demands: one CPU, and an init container of another size for each.
func sizes(pods int) (all []*Pod) {
	for i := range pods {
		pod := podAsking(fmt.Sprint("p", i), i+1, 1)
		pod.Containers[0].Kind = Init
		all = append(all, pod)
	}
	return all
}

func TestAdmitAfterShared(t *testing.T) {
	n := newNode(t, twoNUMANodes, "", topologymanager.PolicySingleNUMANode, topologymanager.ScopeContainer, "0,16")
	d := AdmitAfter(n, []*Pod{podAsking("other", 2)}, podAsking("vm", 4))
	if got := d.Shared.String(); got != "0,4-16,20-31" {
		t.Errorf("shared pool after both in either order: %s", got)
	}
	n.Shared = parse(t, "0-1,16-17")
	d = AdmitAfter(n, []*Pod{podAsking("other", 2)}, podAsking("vm", 2))
	if d.Verdict != Wait {
		t.Errorf("two pods and room for one: %s, want wait", d)
	}
	d = AdmitAfter(n, []*Pod{podAsking("other", 2)}, podAsking("vm", 8))
	if d.Verdict != Refused || !d.Preemptible {
		t.Errorf("no room now, but on the empty node: %s, preemptible %v", d, d.Preemptible)
	}
}

// Where the order decides which CPUs the pod gets, all that it may get are told.
func TestAdmitAfterAlternatives(t *testing.T) {
	n := newNode(t, twoNUMANodes, "", topologymanager.PolicySingleNUMANode, topologymanager.ScopeContainer, "0,16")
	for _, tc := range []struct {
		inFlight []*Pod
		want     string
	}{
		{nil, "1,17"},
		{[]*Pod{podAsking("other", 2)}, "2,18 1,17"},
		{[]*Pod{podAsking("other", 2), podAsking("third", 4)}, "4,20 2,18 3,19 1,17"},
	} {
		d := AdmitAfter(n, tc.inFlight, podAsking("vm", 2))
		if (d.Grants == nil) != (len(d.Alternatives) > 1) || d.Verdict != Admitted {
			t.Fatalf("%d in flight: %s with grants %v and alternatives %v", len(tc.inFlight), d, d.Grants, d.Alternatives)
		}
		var got []string
		for _, grants := range append(d.Alternatives, d.Grants) {
			for _, grant := range grants {
				got = append(got, grant.CPUs.String())
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%d in flight: %v, want %s", len(tc.inFlight), got, tc.want)
		}
	}
}
