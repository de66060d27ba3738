// SPDX-License-Identifier: Apache-2.0

package memorymanager

import (
	"strings"
	"testing"
)

const gib = 1 << 30

// twoNodes has 16 GiB on each of two NUMA nodes, of which 1 GiB is reserved on the first.
func twoNodes() State {
	s := State{Types: []string{"memory"}}
	for i := range 2 {
		a := Amount{Total: 16 * gib, SystemReserved: uint64(1-i) * gib}
		a.Allocatable = a.Total - a.SystemReserved
		a.Free = a.Allocatable
		s.NUMANodes = append(s.NUMANodes, NUMANode{Group: 1 << i, Memory: []Amount{a}})
	}
	return s
}

func TestRestarts(t *testing.T) {
	request := func(gibs uint64) []Quantity { return []Quantity{{"memory", gibs * gib}} }
	static := func(requests ...uint64) *Static {
		empty := twoNodes()
		s := NewStatic(&empty)
		for _, r := range requests {
			if err := s.Allocate("c", false, request(r), 0, false); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	smaller := twoNodes()
	smaller.NUMANodes[1].Memory[0].Total -= 1024
	huge := twoNodes()
	huge.Types = []string{"hugepages-1Gi"}
	for _, tc := range []struct {
		what    string
		state   *Static
		now     *State
		want    string
		certain bool
	}{
		{"nothing held", static(), nil, "", true},
		{"one on each", static(10, 10), nil, "", true},
		{"one on both", static(20), nil, "", true},
		{"a KiB less", static(10), &smaller, "memory of NUMA node 1 was 17179869184 bytes", true},
		{"another type", static(), &huge, "NUMA node 0 has no memory any more", true},
		{"another type, held", static(10), &huge, "uses memory resource that does not exist", true},
		{"fewer NUMA nodes", static(), &State{}, "2 NUMA nodes are now 0", true},
	} {
		why, certain := tc.state.State.Restarts(tc.state.Held, tc.now)
		if !strings.Contains(why, tc.want) || (why == "") != (tc.want == "") || certain != tc.certain {
			t.Errorf("%s: %q, certain %t; want %q", tc.what, why, certain, tc.want)
		}
	}
	lost := static(10)
	if why, _ := lost.State.Restarts(nil, nil); !strings.Contains(why, "1 assignments, and its containers 0") {
		t.Errorf("the assignment lost: %q", why)
	}
	both := static(20)
	both.Held = append(both.Held, Held{Container: "d", Block: Block{NUMANodes: 1, Quantity: Quantity{"memory", gib}}})
	if _, certain := both.State.Restarts(both.Held, nil); certain {
		t.Errorf("sets of NUMA nodes that overlap: certain")
	}
}
