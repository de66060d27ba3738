// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"strings"
	"testing"
	"time"

	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/pkg/cputopology"
)

// A minute on the CPUs 2-3 of VM db: what each spent its time on, and what the VM used and was throttled.
type minute struct {
	each            hostcpu.Times
	used, throttled time.Duration
}

// spend lets minutes pass.
func (b *bench) spend(n int, m minute) {
	for range n {
		b.mu.Lock()
		for _, id := range []int{2, 3} {
			b.times[id] = b.times[id].Plus(m.each)
		}
		b.usage.CPU += m.used
		b.usage.Throttled += m.throttled
		b.mu.Unlock()
		pass(period)
	}
}

func TestLosses(t *testing.T) {
	busy := hostcpu.Times{Busy: 60 * time.Second}
	all := minute{busy, 2 * time.Minute, 0}
	for name, tc := range map[string]struct {
		minute minute
		want   string
	}{
		"the VM has all of it":      {all, ""},
		"the VM idles":              {minute{}, ""},
		"sampling is not exact":     {minute{hostcpu.Times{Busy: 31 * time.Second}, time.Minute, 0}, ""},
		"a busy loop on a CPU":      {minute{busy, 90 * time.Second, 0}, "25.0 % went to other threads"},
		"interrupts":                {minute{hostcpu.Times{Busy: 50 * time.Second, IRQ: time.Second, SoftIRQ: 9 * time.Second}, 100 * time.Second, 0}, "16.7 % went to interrupts"},
		"a node that is a VM":       {minute{hostcpu.Times{Busy: 54 * time.Second, Steal: 6 * time.Second}, 108 * time.Second, 0}, "10.0 % was taken by the hypervisor"},
		"a quota":                   {minute{busy, 2 * time.Minute, 300 * time.Millisecond}, "0.2 % was kept from the VM by its own CPU quota"},
		"the container began again": {minute{busy, -time.Second, 0}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(b *bench) {
				b.add(launcherPod("db"), "2-3")
				b.change(func() { b.usage.CPU = time.Hour })
				pass(period)
				says := func(what, want string) {
					t.Helper()
					got := b.Of("db", set("2-3")).Loss
					if got != want && (want == "" || !strings.HasPrefix(got, want)) {
						t.Errorf("%s: %q, want %q", what, got, want)
					}
				}
				b.spend(2, tc.minute)
				says("after two minutes", "")
				b.spend(1, tc.minute)
				says("after three", tc.want)
				told := b.Of("db", set("2-3"))
				b.spend(30, tc.minute)
				if again := b.Of("db", set("2-3")); again != told {
					t.Errorf("half an hour later it says %+v, and said %+v", again, told)
				}
				b.spend(1, all)
				says("once it is over", "")
			})
		})
	}
}

func TestMemoryAway(t *testing.T) {
	const gibi = 1 << 30
	two := cputopology.MustParse("2 sockets x 1 numa x 4 cores x 1 threads")
	for name, tc := range map[string]struct {
		cpus   string
		memory map[int]int64
		want   string
	}{
		"all near":       {"4-5", map[int]int64{1: 8 * gibi}, ""},
		"little is away": {"4-5", map[int]int64{0: 200 << 20, 1: gibi}, ""},
		"a small share":  {"4-5", map[int]int64{0: gibi, 1: 64 * gibi}, ""},
		"half is away":   {"4-5", map[int]int64{0: 5 * gibi, 1: 5 * gibi}, "more than 4096 MiB of its memory is on NUMA node 0, where it has no CPU"},
		"CPUs on both":   {"3-4", map[int]int64{0: 5 * gibi, 1: 5 * gibi}, ""},
		"unknown CPUs":   {"9", map[int]int64{0: 5 * gibi}, ""},
	} {
		if got := awayFrom(set(tc.cpus), tc.memory, two); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	if got := awayFrom(set("1"), map[int]int64{0: gibi}, nil); got != "" {
		t.Errorf("without a topology: %q", got)
	}
}
