// SPDX-License-Identifier: Apache-2.0

package devicemanager

import (
	"fmt"
	"slices"
	"testing"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// What is exact is for test/conformance/kubelet136 to say; here are the rules, one by one.

const nic = "example.com/nic"

func stateOf(groups ...Group) *State {
	return &State{Resources: []Resource{{Name: nic, Groups: groups}}}
}

func start(s *State) *Manager {
	m := &Manager{}
	m.Start(s, 36, 2)
	return m
}

func TestHints(t *testing.T) {
	for _, tc := range []struct {
		what   string
		groups []Group
		minor  int
		need   int
		want   string // the possible masks, the preferred ones with a star; "none given" where there is no provider
	}{
		{"no device has a NUMA node", []Group{{0, 4, 4, 4}}, 36, 1, "none given"},
		{"two NUMA nodes", []Group{{1, 4, 4, 4}, {2, 4, 4, 1}}, 36, 2, "1* 3"},
		{"too few free", []Group{{1, 4, 4, 1}}, 36, 2, ""},
		{"an unhealthy device counts for preference", []Group{{1, 2, 1, 1}, {2, 1, 1, 1}}, 36, 2, "3"},
		{"both are needed on an empty machine", []Group{{1, 1, 1, 1}, {2, 1, 1, 1}}, 36, 2, "3*"},
		{"a device of both", []Group{{3, 1, 1, 1}}, 36, 1, "1* 2* 3"},
		{"no device is asked for", []Group{{1, 1, 1, 0}}, 36, 0, "1*"},
		{"only where devices are", []Group{{1, 1, 1, 1}}, 36, 1, "1*"},
		{"before 1.36, everywhere", []Group{{1, 1, 1, 1}}, 35, 1, "1* 3"},
		{"all that are left, one without NUMA node", []Group{{0, 1, 1, 1}, {1, 1, 1, 1}}, 36, 2, ""},
	} {
		m := &Manager{}
		m.Start(stateOf(tc.groups...), tc.minor, 2)
		got := "none given"
		for _, hints := range m.Hints(nil, []Request{{Resource: nic, Count: tc.need}}) {
			got = listed(hints)
		}
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.what, got, tc.want)
		}
	}
}

func listed(h topologymanager.HintProvider) string {
	text := ""
	for mask := topologymanager.Mask(1); mask < 4; mask++ {
		if mask&^h.Nodes() != 0 || !h.Possible(mask) {
			continue
		}
		if text != "" {
			text += " "
		}
		text += fmt.Sprint(mask)
		if h.Preferred(mask) {
			text += "*"
		}
	}
	return text
}

func TestAllocate(t *testing.T) {
	for _, tc := range []struct {
		what     string
		groups   []Group
		need     int
		affinity topologymanager.Mask
		free     []int // by group afterwards
		unsure   bool
		err      string
	}{
		{"of the chosen NUMA node", []Group{{1, 4, 4, 4}, {2, 4, 4, 4}}, 2, 2, []int{4, 2}, false, ""},
		{"of either", []Group{{1, 4, 4, 4}, {2, 4, 4, 4}}, 2, 3, []int{2, 4}, true, ""},
		{"all of them", []Group{{1, 2, 2, 2}, {2, 2, 2, 2}}, 4, 3, []int{0, 0}, false, ""},
		{"the chosen ones first", []Group{{1, 1, 1, 1}, {2, 4, 4, 4}}, 3, 1, []int{0, 2}, false, ""},
		{"none chosen", []Group{{1, 4, 4, 4}, {2, 4, 4, 4}}, 2, 0, []int{2, 4}, true, ""},
		{"without NUMA nodes", []Group{{0, 9, 9, 9}}, 2, 1, []int{7}, false, ""},
		{"too few", []Group{{1, 4, 4, 1}}, 2, 1, []int{1}, false, "requested number of devices unavailable for example.com/nic. Requested: 2, Available: 1"},
		{"none healthy", []Group{{1, 4, 0, 0}}, 0, 1, []int{0}, false, "no healthy devices present; cannot allocate unhealthy devices example.com/nic"},
		{"the plugin lists none", nil, 1, 1, nil, false, "no healthy devices present; cannot allocate unhealthy devices example.com/nic"},
	} {
		m := start(stateOf(tc.groups...))
		err := m.Allocate("c", false, []Request{{Resource: nic, Count: tc.need}}, tc.affinity)
		if fmt.Sprint(err) != tc.err && (err != nil || tc.err != "") {
			t.Errorf("%s: error %v, want %q", tc.what, err, tc.err)
		}
		r := m.After().Resource(nic)
		if free := freeOf(r); !slices.Equal(free, tc.free) || r.Unsure != tc.unsure {
			t.Errorf("%s: free %v, unsure %t; want %v, %t", tc.what, free, r.Unsure, tc.free, tc.unsure)
		}
	}
}

func freeOf(r *Resource) (free []int) {
	for _, g := range r.Groups {
		free = append(free, g.Free)
	}
	return free
}

// Later containers use an init container's devices, a sidecar keeps its own, and the pod holds each device once.
func TestReuse(t *testing.T) {
	s := stateOf(Group{1, 4, 4, 4}, Group{2, 4, 4, 4})
	m := start(s)
	for _, c := range []struct {
		name   string
		isInit bool
		need   int
	}{{"prepare", true, 3}, {"side", false, 1}, {"main", false, 3}} {
		if err := m.Allocate(c.name, c.isInit, []Request{{Resource: nic, Count: c.need}}, 1); err != nil {
			t.Fatal(err)
		}
	}
	after := m.After()
	want := []Held{
		{Container: "prepare", Resource: nic, NUMANodes: 1, Devices: 3},
		{Container: "side", Resource: nic, NUMANodes: 1, Devices: 1, Again: 1},
		{Container: "main", Resource: nic, NUMANodes: 1, Devices: 2, Again: 2},
		{Container: "main", Resource: nic, NUMANodes: 1, Devices: 1},
	}
	if !slices.Equal(m.Held, want) {
		t.Errorf("held %+v", m.Held)
	}
	if free := freeOf(after.Resource(nic)); !slices.Equal(free, []int{0, 4}) {
		t.Errorf("free afterwards: %v", free)
	}
	if back := after.Releasing(m.Held); !back.Equal(s) {
		t.Errorf("when the pod has gone: %+v", back)
	}
}

// A request that touches a resource of which only the kubelet knows the rest is not predicted.
func TestUnsure(t *testing.T) {
	m := start(stateOf(Group{1, 4, 4, 4}, Group{2, 4, 4, 4}))
	ask := []Request{{Resource: nic, Count: 1}}
	if got := m.Unsure(ask); got != "" {
		t.Errorf("at first: %q", got)
	}
	if err := m.Allocate("a", false, ask, 3); err != nil {
		t.Fatal(err)
	}
	if got := m.Unsure(ask); got != nic {
		t.Errorf("after a choice of the kubelet's: %q", got)
	}
	if got := m.Unsure([]Request{{Resource: "bridge.network.kubevirt.io/br1", Count: 1}}); got != "" {
		t.Errorf("of a resource that nobody serves: %q", got)
	}
}

func TestEmptyAndReleasing(t *testing.T) {
	s := stateOf(Group{1, 5, 4, 1})
	if free := freeOf(s.Empty().Resource(nic)); free[0] != 4 {
		t.Errorf("empty: %v free", free)
	}
	held := []Held{{Container: "c", Resource: nic, NUMANodes: 1, Devices: 3, Again: 1, Unhealthy: 1}, {Container: "c", Resource: "example.com/gone", Devices: 1}}
	if free := freeOf(s.Releasing(held).Resource(nic)); free[0] != 2 {
		t.Errorf("released: %v free", free)
	}
	if s.Resource(nic).Free() != 1 {
		t.Errorf("the state itself was changed")
	}
}

// A kubelet that has started again lets a container that asks for no device have the hints of one that could reuse those of an
// init container.
func TestAgain(t *testing.T) {
	state := stateOf(Group{NUMANodes: 1, Devices: 1, Healthy: 1}, Group{NUMANodes: 2, Devices: 1, Healthy: 1, Free: 1})
	held := []Held{{Container: "init", Resource: nic, NUMANodes: 1, Devices: 1}}
	ask := func(count int) []Request { return []Request{{Resource: nic, Count: count}} }
	for name, tc := range map[string]struct {
		state     *State
		container string // that holds what was held
		isInit    bool
		possible  []topologymanager.Mask // for a later container that asks for none
		refused   bool
	}{
		"init container":                      {state, "init", true, []topologymanager.Mask{1, 3}, false},
		"sidecar":                             {state, "init", false, []topologymanager.Mask{1, 2, 3}, false},
		"init container, before registration": {state.Unregistered(), "init", true, nil, true},
		"sidecar, before registration":        {state.Unregistered(), "init", false, nil, false},
	} {
		var m Manager
		m.Start(tc.state, 36, 2)
		err := m.AllocateAgain(tc.container, tc.isInit, ask(1), held)
		if (err != nil) != tc.refused {
			t.Errorf("%s: %v", name, err)
		}
		var possible []topologymanager.Mask
		for _, hints := range m.HintsAgain(nil, ask(0), held, "compute") {
			for mask := topologymanager.Mask(1); mask <= 3; mask++ {
				if hints.Possible(mask) {
					possible = append(possible, mask)
				}
			}
		}
		if !slices.Equal(possible, tc.possible) {
			t.Errorf("%s: possible are %v, want %v", name, possible, tc.possible)
		}
	}
}

// Two init containers and an app container held one device after the other. After a restart it is one device, and the app
// container has it: nothing is left to reuse.
func TestAgainReusedTwice(t *testing.T) {
	state := stateOf(Group{NUMANodes: 1, Devices: 2, Healthy: 2, Free: 1}, Group{NUMANodes: 2, Devices: 2, Healthy: 2, Free: 2})
	held := []Held{
		{Container: "one", Resource: nic, NUMANodes: 1, Devices: 1},
		{Container: "two", Resource: nic, NUMANodes: 1, Devices: 1, Again: 1},
		{Container: "compute", Resource: nic, NUMANodes: 1, Devices: 1, Again: 1},
	}
	m := start(state)
	for i, container := range []string{"one", "two", "compute"} {
		if err := m.AllocateAgain(container, i < 2, []Request{{Resource: nic, Count: 1}}, held); err != nil {
			t.Fatal(err)
		}
		want := "1* 3"
		if container == "compute" {
			want = "1* 2* 3"
		}
		for _, hints := range m.HintsAgain(nil, []Request{{Resource: nic}}, held, "last") {
			if got := listed(hints); got != want {
				t.Errorf("after %s: %q, want %q", container, got, want)
			}
		}
	}
}
