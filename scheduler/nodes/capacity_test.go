// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"testing"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
)

// The node has two NUMA nodes with 6 and 8 free CPUs, and gives whole cores.
func TestRoom(t *testing.T) {
	coming := vm("coming", "4")
	asks := admission.PodOf(coming)
	for name, test := range map[string]struct {
		cpus     string
		most     int
		inFlight bool
		inexact  bool
		want     Room
	}{
		"until the kubelet refuses": {"4", 100, false, false, Room{Pods: 3, Free: 2, Exact: true}},
		"no more than most":         {"4", 2, false, false, Room{Pods: 2, Free: 6, Exact: true}},
		"none":                      {"4", 0, false, false, Room{Free: 14, Exact: true}},
		"after the pods in flight":  {"4", 100, true, false, Room{Pods: 2, Free: 2, Exact: true}},
		"one that never fits":       {"10", 100, false, false, Room{Free: 14, Exact: true}},
		"by counting":               {"4", 100, false, true, Room{Pods: 3}},
	} {
		v := newView()
		report := *reportOf(t, nil)
		if test.inexact {
			report.State = nodereport.Inexact
		}
		v.Set("n1", &report)
		if test.inFlight {
			v.Assumed("n1", coming, &asks)
		}
		d := demand(vm("new", test.cpus))
		got := v.Room(nodeInfo().Node(), d, test.most)
		if got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
		pods, exact := v.Capacity(nodeInfo().Node(), d, test.most)
		if pods != got.Pods || exact != got.Exact {
			t.Errorf("%s: Capacity gives %d, %t, and Room %+v", name, pods, exact, got)
		}
	}
}
