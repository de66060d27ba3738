// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

const (
	flat    = "1 sockets x 1 numa x 8 cores x 1 threads"
	smt     = "1 sockets x 1 numa x 4 cores x 2 threads" // 0,4 1,5 2,6 3,7
	twoNUMA = "2 sockets x 1 numa x 4 cores x 2 threads" // node 0: 0,8 1,9 2,10 3,11; node 1: 4,12 ...
)

func set(t *testing.T, text string) cpuset.Set {
	t.Helper()
	s, err := cpuset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lay writes pins in one line: "0 4 1 5; emulator 2; io 1=3".
func lay(p Pins) string {
	var parts []string
	for _, cpus := range p.VCPUs {
		parts = append(parts, cpus.String())
	}
	text := strings.Join(parts, " ")
	if !p.Emulator.IsEmpty() {
		text += "; emulator " + p.Emulator.String()
	}
	for _, thread := range slices.Sorted(maps.Keys(p.IOThreads)) {
		text += fmt.Sprintf("; io %d=%s", thread, p.IOThreads[thread])
	}
	return text
}

func TestPlace(t *testing.T) {
	for _, tc := range []struct {
		name, host, granted string
		guest               Guest
		want                string
	}{
		{"one vCPU", flat, "3", Guest{VCPUs: 1}, "3"},
		{"more granted than needed", flat, "1-6", Guest{VCPUs: 4}, "1 2 3 4"},
		{"guest cores of one thread fill host cores", smt, "0,1,4,5", Guest{VCPUs: 4}, "0 4 1 5"},
		{"guest cores of two threads", smt, "0,1,4,5", Guest{VCPUs: 4, ThreadsPerCore: 2}, "0 4 1 5"},
		{"whole cores first, then halves", smt, "0,1,2,3,6,7", Guest{VCPUs: 6, ThreadsPerCore: 2}, "2 6 3 7 0 1"},
		{"halves of one NUMA node before crossing", twoNUMA, "0,4,5,12", Guest{VCPUs: 4, ThreadsPerCore: 2}, "4 12 0 5"},
		{"a pair of halves on one NUMA node", twoNUMA, "0,4,5", Guest{VCPUs: 2, ThreadsPerCore: 2}, "4 5"},
		{"where the memory is", twoNUMA, "0,4,8,12", Guest{VCPUs: 4, Near: [][]int{{1}, {1}, {0}, {0}}}, "4 12 0 8"},
		{"of some vCPUs only", twoNUMA, "0,4,8,12", Guest{VCPUs: 3, Near: [][]int{nil, {1}}}, "0 4 8"},
		{"where the memory is, for guest cores", twoNUMA, "0,4,8,12", Guest{VCPUs: 4, ThreadsPerCore: 2, Near: [][]int{{1}, {1}, {0}, {0}}}, "4 12 0 8"},
		{"where the memory is, as far as CPUs are granted there", twoNUMA, "0,4,8", Guest{VCPUs: 3, Near: [][]int{{1}, {1}, {1}}}, "4 0 8"},
		{"half a guest core at the end", smt, "0,1,4", Guest{VCPUs: 3, ThreadsPerCore: 2}, "0 4 1"},
		{"threads that no host core has", smt, "0,1,4", Guest{VCPUs: 3, ThreadsPerCore: 3}, "0 4 1"},
		{"emulator takes a leftover", smt, "0,1,2,4,5", Guest{VCPUs: 4, ThreadsPerCore: 2, IsolateEmulator: true}, "0 4 1 5; emulator 2"},
		{"emulator of two CPUs", flat, "0-5", Guest{VCPUs: 3, IsolateEmulator: true, EmulatorCPUs: 2}, "0 1 2; emulator 3-4"},
		{"dedicated IO threads come before the emulator", flat, "0-6",
			Guest{VCPUs: 4, IOThreads: []int{1, 2}, DedicatedIOThreads: true, IsolateEmulator: true}, "0 1 2 3; emulator 6; io 1=4; io 2=5"},
		{"dedicated IO threads share the last core", twoNUMA, "0,1,4,8,9,12",
			Guest{VCPUs: 4, ThreadsPerCore: 2, IOThreads: []int{1, 2}, DedicatedIOThreads: true}, "0 8 1 9; io 1=4; io 2=12"},
		{"an IO thread breaks a core of the first NUMA node", twoNUMA, "0,1,4,8,9,12,5",
			Guest{VCPUs: 2, ThreadsPerCore: 2, IOThreads: []int{1}, DedicatedIOThreads: true, IsolateEmulator: true}, "0 8; emulator 9; io 1=1"},
		{"IO threads beside an isolated emulator", flat, "0-2",
			Guest{VCPUs: 2, IOThreads: []int{1, 2}, IsolateEmulator: true}, "0 1; emulator 2; io 1=2; io 2=2"},
		{"fewer IO threads than vCPUs", flat, "2-5", Guest{VCPUs: 4, IOThreads: []int{1, 2, 3}}, "2 3 4 5; io 1=2-3; io 2=4; io 3=5"},
		{"IO threads take as many CPUs as there are vCPUs", flat, "0-7", Guest{VCPUs: 4, IOThreads: []int{1, 2}}, "0 1 2 3; io 1=0-1; io 2=2-3"},
		{"IO threads take the lowest CPUs, not the vCPUs'", smt, "0,1,2,3,6,7",
			Guest{VCPUs: 4, ThreadsPerCore: 2, IOThreads: []int{1}}, "2 6 3 7; io 1=0-3"},
		{"as many IO threads as vCPUs", flat, "2,3", Guest{VCPUs: 2, IOThreads: []int{1, 2}}, "2 3; io 1=3; io 2=2"},
		{"cores of one NUMA node each", twoNUMA, "0,1,4,5", Guest{VCPUs: 4, ThreadsPerCore: 2, NUMA: &NUMA{}}, "0 1 4 5"},
		{"a huge page for each NUMA node", twoNUMA, "0,4", Guest{VCPUs: 2, NUMA: &NUMA{Memory: 4, PageSize: 2}}, "0 4"},
		{"more IO threads than vCPUs", flat, "2,3", Guest{VCPUs: 2, IOThreads: []int{1, 2, 3}}, "2 3; io 1=3; io 2=2; io 3=3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			host, granted := cputopology.MustParse(tc.host), set(t, tc.granted)
			pins, err := Place(tc.guest, granted, host)
			if err != nil || lay(pins) != tc.want {
				t.Errorf("Place = %q, %v; want %q", lay(pins), err, tc.want)
			}
			if err := Check(pins, tc.guest, granted, host); err != nil {
				t.Errorf("Check refuses our own placement %q: %v", lay(pins), err)
			}
		})
	}
}

func TestPlaceRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, host, granted string
		guest               Guest
		want                string
	}{
		{"one core too few", smt, "0,1,4", Guest{VCPUs: 4, ThreadsPerCore: 2}, "needs 4 CPUs and 3 are granted (0-1,4)"},
		{"no room for the emulator", flat, "0,1", Guest{VCPUs: 2, IsolateEmulator: true}, "needs 3 CPUs and 2 are granted"},
		{"no room for IO threads", flat, "0-2", Guest{VCPUs: 2, IOThreads: []int{1, 2}, DedicatedIOThreads: true}, "needs 4 CPUs and 3"},
		{"nothing granted", flat, "", Guest{VCPUs: 1}, "needs 1 CPUs and 0"},
		{"not online", flat, "7-9", Guest{VCPUs: 1}, "CPUs 8-9 are not online on this host (0-7)"},
		{"no vCPU", flat, "0", Guest{}, "at least one vCPU"},
		{"negative threads", flat, "0", Guest{VCPUs: 1, ThreadsPerCore: -1}, "not negative"},
		{"a core over two NUMA nodes that are passed through", twoNUMA, "0,1,2,4",
			Guest{VCPUs: 4, ThreadsPerCore: 2, NUMA: &NUMA{}}, "too few are on one NUMA node for the last 2 vCPUs"},
		{"a NUMA node without a huge page", twoNUMA, "0,4", Guest{VCPUs: 2, NUMA: &NUMA{Memory: 3, PageSize: 2}}, "has not one huge page"},
		{"half a huge page", twoNUMA, "0,4", Guest{VCPUs: 2, NUMA: &NUMA{Memory: 5, PageSize: 2}}, "not a whole number of huge pages"},
		{"IO thread twice", flat, "0", Guest{VCPUs: 1, IOThreads: []int{1, 1}}, "IO thread 1 is listed twice"},
	} {
		_, err := Place(tc.guest, set(t, tc.granted), cputopology.MustParse(tc.host))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Place: %v; want an error with %q", tc.name, err, tc.want)
		}
	}
}

func TestCheck(t *testing.T) {
	one, two, three, all := cpuset.Of(1), cpuset.Of(2), cpuset.Of(3), cpuset.Of(1, 2, 3)
	pair := Guest{VCPUs: 2, IOThreads: []int{1}}
	isolated, pooled := pair, pair
	isolated.IsolateEmulator, pooled.DedicatedIOThreads = true, true
	for _, tc := range []struct {
		name  string
		guest Guest
		pins  Pins
		want  string // "" for valid
	}{
		{"in any order", pair, Pins{VCPUs: []cpuset.Set{three, one}}, ""},
		{"a vCPU on two CPUs of its own", pair, Pins{VCPUs: []cpuset.Set{one, cpuset.Of(2, 3)}}, "vCPU 1 floats over CPUs 2-3"},
		{"IO thread beside the isolated emulator", isolated, Pins{VCPUs: []cpuset.Set{one, two}, Emulator: three, IOThreads: map[int]cpuset.Set{1: three}}, ""},
		{"IO thread on a vCPU though the emulator is isolated", isolated,
			Pins{VCPUs: []cpuset.Set{one, two}, Emulator: three, IOThreads: map[int]cpuset.Set{1: two}}, "IO thread 1 and a vCPU share CPU 2"},
		{"emulator on the vCPUs' CPUs", pair, Pins{VCPUs: []cpuset.Set{one, two}, Emulator: all}, ""},
		{"IO thread on the vCPUs' CPUs", pair, Pins{VCPUs: []cpuset.Set{one, two}, IOThreads: map[int]cpuset.Set{1: all}}, ""},
		{"isolated emulator, IO thread left alone", isolated, Pins{VCPUs: []cpuset.Set{one, two}, Emulator: three}, ""},
		{"IO thread of its own", pooled, Pins{VCPUs: []cpuset.Set{one, two}, IOThreads: map[int]cpuset.Set{1: three}}, ""},
		{"two vCPUs on one CPU", pair, Pins{VCPUs: []cpuset.Set{one, one}}, "vCPU 0 and vCPU 1 share CPU 1"},
		{"unpinned vCPUs", pair, Pins{VCPUs: []cpuset.Set{all, all}}, "vCPU 0 floats over CPUs 1-3"},
		{"outside", pair, Pins{VCPUs: []cpuset.Set{one, cpuset.Of(4)}}, "vCPU 1 may run on CPU 4, which is not granted (1-3)"},
		{"no CPU", pair, Pins{VCPUs: []cpuset.Set{one, {}}}, "vCPU 1 has no CPU"},
		{"short", pair, Pins{VCPUs: []cpuset.Set{one}}, "1 vCPUs are placed and the guest has 2"},
		{"emulator outside", pair, Pins{VCPUs: []cpuset.Set{one, two}, Emulator: cpuset.Of(0)}, "the emulator may run on CPU 0"},
		{"emulator not isolated", isolated, Pins{VCPUs: []cpuset.Set{one, two}, Emulator: all}, "vCPU 0 and the emulator share CPU 1"},
		{"emulator left alone", isolated, Pins{VCPUs: []cpuset.Set{one, two}}, "the emulator has no CPU"},
		{"unknown IO thread", pair, Pins{VCPUs: []cpuset.Set{one, two}, IOThreads: map[int]cpuset.Set{7: one}}, "IO thread 7"},
		{"IO thread outside", pair, Pins{VCPUs: []cpuset.Set{one, two}, IOThreads: map[int]cpuset.Set{1: cpuset.Of(5)}}, "IO thread 1 may run on CPU 5"},
		{"IO thread not on its own", pooled, Pins{VCPUs: []cpuset.Set{one, two}, IOThreads: map[int]cpuset.Set{1: two}}, "vCPU 1 and IO thread 1 share CPU 2"},
		{"IO thread left alone", pooled, Pins{VCPUs: []cpuset.Set{one, two}}, "IO thread 1 has no CPU"},
	} {
		err := Check(tc.pins, tc.guest, all, cputopology.MustParse(flat))
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: Check: %v; want %q", tc.name, err, tc.want)
		}
	}
}

// For any grant on any machine, a placement exists exactly when there are enough CPUs. It is valid and the same every
// time, and a guest core spans host cores only if no whole one was free.
func TestPlaceProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		shape := cputopology.Shape{Sockets: 1 + random.IntN(2), NUMAPerSocket: 1 + random.IntN(2), CoresPerNUMA: 1 + random.IntN(4), ThreadsPerCore: 1 + random.IntN(4)}
		host, err := shape.Topology()
		if err != nil {
			t.Fatal(err)
		}
		var granted cpuset.Set
		for id := range host.CPUs().All() {
			if random.IntN(3) > 0 {
				granted.Add(id)
			}
		}
		guest := Guest{VCPUs: 1 + random.IntN(8), ThreadsPerCore: random.IntN(4), IsolateEmulator: random.IntN(2) == 0,
			EmulatorCPUs: random.IntN(3), IOThreads: []int{1, 2, 5}[:random.IntN(4)], DedicatedIOThreads: random.IntN(2) == 0}
		pins, err := Place(guest, granted, host)
		if fits := granted.Len() >= guest.CPUs(); (err == nil) != fits {
			t.Fatalf("%s, granted %s, %+v: error %v although fits is %v", shape, granted, guest, err, fits)
		}
		if err != nil {
			continue
		}
		if err := Check(pins, guest, granted, host); err != nil {
			t.Fatalf("%s, granted %s, %+v: placed as %s: %v", shape, granted, guest, lay(pins), err)
		}
		if again, _ := Place(guest, granted, host); lay(again) != lay(pins) {
			t.Fatalf("placed as %s and then as %s", lay(pins), lay(again))
		}
		if split, whole := splitCores(pins, guest, host), wholeCores(guest.threads(), granted, host); split > max(guest.VCPUs/guest.threads()-whole, 0) {
			t.Fatalf("%s, granted %s, %+v: placed as %s splits %d guest cores over host cores and %d would fit", shape, granted, guest, lay(pins), split, whole)
		}
	}
}

// splitCores counts the complete guest cores whose vCPUs are on more than one host core.
func splitCores(p Pins, g Guest, host *cputopology.Topology) int {
	split := 0
	for first := 0; first+g.threads() <= len(p.VCPUs); first += g.threads() {
		cores := map[int]bool{}
		for _, cpus := range p.VCPUs[first : first+g.threads()] {
			cpu, _ := host.CPU(cpus.First())
			cores[cpu.Core] = true
		}
		if len(cores) > 1 {
			split++
		}
	}
	return split
}

// The cores of guest and host: a guest core may span host cores only where no whole one is granted.
func TestCheckCores(t *testing.T) {
	host := cputopology.MustParse(twoNUMA)
	pairs := Guest{VCPUs: 4, ThreadsPerCore: 2}
	numa := pairs
	numa.NUMA = &NUMA{}
	for _, tc := range []struct {
		name, granted string
		guest         Guest
		vcpus         []int
		want          string
	}{
		{"cores on cores, in any order", "0,1,8,9", pairs, []int{9, 1, 0, 8}, ""},
		{"cores split needlessly", "0,1,8,9", pairs, []int{0, 1, 8, 9}, "vCPUs 0 to 1 are one guest core and on different host cores"},
		{"threads=1 asks nothing", "0,1,8,9", Guest{VCPUs: 4}, []int{0, 1, 8, 9}, ""},
		{"only one core is whole", "0,1,2,8", pairs, []int{1, 2, 0, 8}, ""},
		{"the one whole core is not used", "0,1,2,8", pairs, []int{0, 1, 2, 8}, "have a whole one"},
		{"over NUMA nodes for want of better", "0,1,2,4", pairs, []int{0, 1, 2, 4}, ""},
		{"over NUMA nodes that are passed through", "0,1,2,4", numa, []int{0, 1, 2, 4}, "vCPUs 2 to 3 are one guest core and on 2 NUMA nodes"},
	} {
		var pins Pins
		for _, id := range tc.vcpus {
			pins.VCPUs = append(pins.VCPUs, cpuset.Of(id))
		}
		err := Check(pins, tc.guest, set(t, tc.granted), host)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: Check: %v; want %q", tc.name, err, tc.want)
		}
	}
}

// A vCPU is where the memory of its guest NUMA node is, or the placement is not valid.
func TestCheckNear(t *testing.T) {
	host, granted := cputopology.MustParse(twoNUMA), set(t, "0,4")
	guest := Guest{VCPUs: 2, Near: [][]int{{1}, {0}}}
	if err := Check(Pins{VCPUs: []cpuset.Set{cpuset.Of(4), cpuset.Of(0)}}, guest, granted, host); err != nil {
		t.Errorf("each near its memory: %v", err)
	}
	err := Check(Pins{VCPUs: []cpuset.Set{cpuset.Of(0), cpuset.Of(4)}}, guest, granted, host)
	if err == nil || !strings.Contains(err.Error(), "vCPU 0 is on CPU 0 of NUMA node 0, and the memory of its guest NUMA node is on [1]") {
		t.Errorf("each far from its memory: %v", err)
	}
}
