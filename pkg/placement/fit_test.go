// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"errors"
	"math/rand/v2"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

func TestFit(t *testing.T) {
	const mebibyte = 1 << 20
	pages := func(n int64) *NUMA { return &NUMA{Memory: n * 2 * mebibyte, PageSize: 2 * mebibyte} }
	for _, tc := range []struct {
		name, host, granted string
		guest               Guest
		want                error
	}{
		{"single threads anywhere", smt, "0,1,6,7", Guest{VCPUs: 4}, nil},
		{"single threads without SMT", flat, "0-3", Guest{VCPUs: 4, ThreadsPerCore: 1}, nil},
		{"pairs on siblings", smt, "1,2,5,6", Guest{VCPUs: 4, ThreadsPerCore: 2}, nil},
		{"pairs without SMT", flat, "0-3", Guest{VCPUs: 4, ThreadsPerCore: 2}, ErrSplitsCore},
		{"one pair on siblings, one not", smt, "0,4,1,2", Guest{VCPUs: 4, ThreadsPerCore: 2}, ErrSplitsCore},
		{"pairs, and a lone CPU for the emulator", smt, "0,4,1", Guest{VCPUs: 2, ThreadsPerCore: 2, IsolateEmulator: true}, nil},
		{"no CPU for the emulator", smt, "0,4", Guest{VCPUs: 2, ThreadsPerCore: 2, IsolateEmulator: true}, ErrTooFew},
		{"one CPU for two IO threads", flat, "0-2", Guest{VCPUs: 2, IOThreads: []int{1, 2}, DedicatedIOThreads: true}, ErrTooFew},
		{"IO threads that share", flat, "0,1", Guest{VCPUs: 2, IOThreads: []int{1, 2}}, nil},
		{"two NUMA nodes, a page for each", twoNUMA, "0,1,4,5", Guest{VCPUs: 4, NUMA: pages(2)}, nil},
		{"two NUMA nodes and one page", twoNUMA, "0,1,4,5", Guest{VCPUs: 4, NUMA: pages(1)}, ErrNUMA},
		{"one NUMA node and one page", twoNUMA, "0,1,8,9", Guest{VCPUs: 4, NUMA: pages(1)}, nil},
		{"not online", flat, "7-9", Guest{VCPUs: 1, NUMA: pages(1)}, ErrNUMA},
	} {
		err := Fit(tc.guest, set(t, tc.granted), cputopology.MustParse(tc.host))
		if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("%s: %v; want %v", tc.name, err, tc.want)
		}
	}
}

// What fits is placed, and placed without splitting a guest core; what does not fit has none such placement.
func TestFitTellsWhatPlaceWillDo(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	fitting := 0
	for range 20_000 {
		shape := cputopology.Shape{Sockets: 1 + random.IntN(2), NUMAPerSocket: 1 + random.IntN(2), CoresPerNUMA: 1 + random.IntN(4), ThreadsPerCore: 1 + random.IntN(2)}
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
		threads := 1 + random.IntN(2)
		guest := Guest{VCPUs: threads * (1 + random.IntN(4)), ThreadsPerCore: threads, IsolateEmulator: random.IntN(2) == 0,
			IOThreads: []int{1, 2}[:random.IntN(3)], DedicatedIOThreads: random.IntN(2) == 0}
		if random.IntN(2) == 0 {
			guest.NUMA = &NUMA{Memory: random.Int64N(4), PageSize: 1}
		}
		pins, err := Place(guest, granted, host)
		good := err == nil && splitCores(pins, guest, host) == 0
		if fit := Fit(guest, granted, host); (fit == nil) != good {
			t.Fatalf("%s, granted %s, %+v: fit %v, and placed as %s (%v)", shape, granted, guest, fit, lay(pins), err)
		}
		if good {
			fitting++
		}
	}
	if fitting < 2_000 || fitting > 18_000 {
		t.Errorf("%d of 20,000 guests fit: too lopsided to tell anything", fitting)
	}
}
