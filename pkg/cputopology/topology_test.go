// SPDX-License-Identifier: Apache-2.0

package cputopology

import (
	"math/rand/v2"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/bounds"
)

func TestTextForms(t *testing.T) {
	for _, text := range []string{
		"2 sockets x 1 numa x 16 cores x 2 threads",
		"1 sockets x 4 numa x 4 cores x 1 threads",
		"1 sockets x 1 numa x 1 cores x 1 threads",
		"s0 n0 u0: 0,4 1,5; s0 n1 u1: 2,6 3,7",           // two caches in one socket
		"s0 n0 u0: 0-1 2-3 4 5",                          // hybrid cores, neighbours numbered together
		"s0 n0 u0: 0,8 1,9; s0 n0 u1: 2,10; s1 n1 u2: 3", // asymmetric, an offline thread
		"s0 n0 u0: 0 1; n1:",                             // a NUMA node without CPUs
	} {
		machine, err := Parse(text)
		if err != nil {
			t.Errorf("Parse(%q): %v", text, err)
			continue
		}
		again, err := Parse(machine.String())
		if err != nil || !again.Equal(machine) {
			t.Errorf("%q was printed as %q, which is another machine (%v)", text, machine, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", "want"},
		{"2 sockets", "want"},
		{"0 sockets x 1 numa x 1 cores x 1 threads", "not a number of sockets"},
		{"99999 sockets x 99999 numa x 99999 cores x 99999 threads", "more than 1792 CPUs"},
		{"s0 n0 u0: 0,1 1,2", "in two cores"},
		{"s0 n0 u0:", "at least one CPU"},
		{"x0: 1", "not a place"},
		{"s0 n0 u0: 5000", "above 1791"},
	} {
		if _, err := Parse(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Parse(%q): %v; want an error with %q", tc.text, err, tc.want)
		}
	}
}

func TestLookups(t *testing.T) {
	machine := MustParse("2 sockets x 2 numa x 2 cores x 2 threads")
	if got := machine.CPUs().String(); got != "0-15" {
		t.Errorf("CPUs() = %s", got)
	}
	cpu, ok := machine.CPU(15)
	if want := (CPU{ID: 15, Core: 7, UncoreCache: 1, NUMANode: 3, Socket: 1}); !ok || cpu != want {
		t.Errorf("CPU(15) = %+v, %v; want %+v", cpu, ok, want)
	}
	if core, ok := machine.CoreOf(8); !ok || core.CPUs != cpuset.Of(0, 8) {
		t.Errorf("CoreOf(8) = %+v, %v", core, ok)
	}
	if _, ok := machine.CPU(16); ok {
		t.Error("CPU(16) exists on a 16-CPU machine")
	}
	if n := machine.NUMANodes(); len(n) != 4 || n[3].CPUs != cpuset.Of(6, 7, 14, 15) {
		t.Errorf("NUMANodes() = %+v", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"2 sockets x 1 numa x 16 cores x 2 threads", "s0 n0 u0: 0,4 1,5; n1:", ";:", "s: 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var machine *Topology
		var err error
		bounds.Within(t, bounds.Parser, text, func() { machine, err = Parse(text) })
		if err != nil {
			return
		}
		if again, err := Parse(machine.String()); err != nil || !again.Equal(machine) {
			t.Fatalf("%q was printed as %q, which is another machine (%v)", text, machine, err)
		}
	})
}

func TestWholeCores(t *testing.T) {
	for _, machine := range []string{"2 sockets x 2 numa x 8 cores x 2 threads", "1 sockets x 1 numa x 7 cores x 1 threads", "2 sockets x 1 numa x 16 cores x 4 threads"} {
		topology := MustParse(machine)
		for seed := range uint64(200) {
			random := rand.New(rand.NewPCG(seed, 1))
			var free, want cpuset.Set
			for id := range topology.CPUs().All() {
				if random.IntN(4) > 0 {
					free.Add(id)
				}
			}
			for _, core := range topology.Cores() {
				if core.CPUs.SubsetOf(free) {
					want = want.Union(core.CPUs)
				}
			}
			if got := topology.WholeCores(free); got != want {
				t.Fatalf("%s, CPUs %s: whole cores are %s; want %s", machine, free, got, want)
			}
		}
	}
}
