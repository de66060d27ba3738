// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/exclusive"
	"corepin.dev/corepin/pkg/cpuset"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// judged begins a bench whose guests' CPUs are judged by what set takes.
func judged(t *testing.T) (b *fixture, set func(exclusive.Verdict)) {
	b = newFixture(t, config.PinningEnforce)
	var now exclusive.Verdict
	b.controller.Exclusive = func(types.UID, cpuset.Set) exclusive.Verdict {
		b.mu.Lock()
		defer b.mu.Unlock()
		return now
	}
	return b, func(v exclusive.Verdict) {
		b.set(func() { now = v })
		b.controller.Trigger()
	}
}

// pinnedUntold waits until a guest is pinned, and looks that no event says so.
func (b *fixture) pinnedUntold(name, pins string) {
	b.t.Helper()
	b.await("pins of "+name, func() error {
		if got := b.controller.Pins()[types.UID(name)]; got != pins {
			return fmt.Errorf("pins %q", got)
		}
		return nil
	})
	if events := b.eventsOf(name); len(events) > 0 {
		b.t.Errorf("events of %s before anybody knows that it is alone: %q", name, events)
	}
}

// Pinned names the grant, and is not said before nobody else may run there.
func TestPinnedIsToldWithItsProof(t *testing.T) {
	b, set := judged(t)
	set(exclusive.Verdict{State: exclusive.Pending})
	b.vm("db", "2,6", "!0-7 !0-7")
	b.owned("db")
	b.run()
	b.pinnedUntold("db", "0=2 1=6")
	set(exclusive.Verdict{State: exclusive.Shared, Since: noon, Others: "37 containers of the shared pool", Witnessed: true})
	b.quiet()
	b.pinnedUntold("db", "0=2 1=6")
	set(exclusive.Verdict{State: exclusive.Alone, Since: noon.Add(7 * time.Second), Others: "37 containers of the shared pool", Witnessed: true})
	b.awaitEvents("db", "Exclusive no other container may run on CPUs 2,6 since 2026-11-23T12:00:07Z; until then also 37 containers of the shared pool",
		"Pinned vCPU 0→2 1→6; granted 2,6")
	b.quiet()
	b.awaitEvents("db", "Exclusive", "Pinned")
}

func TestOthersAreTold(t *testing.T) {
	b, set := judged(t)
	shared := exclusive.Verdict{State: exclusive.Shared, Since: noon, Others: "1 container of the shared pool (vms/web c)", Lasting: true}
	set(shared)
	b.vm("db", "2,6", "2 6")
	b.owned("db")
	b.run()
	const told = "OthersMayRun CPUs 2,6 are granted to this VM, and since 2026-11-23T12:00:00Z also 1 container of the shared pool (vms/web c) may run there; the kubelet"
	b.awaitEvents("db", told)
	b.quiet()
	b.awaitEvents("db", told)
	set(exclusive.Verdict{State: exclusive.Alone, Since: noon.Add(time.Hour), Others: shared.Others})
	b.awaitEvents("db", told, "Exclusive no other container may run on CPUs 2,6 since 2026-11-23T13:00:00Z; until then also 1 container of the shared pool (vms/web c)")
	set(shared)
	b.awaitEvents("db", told, "Exclusive", told)
}

// What was so when the agent started is no news, and where nothing can be known, Pinned does not wait.
func TestWhatIsNoNews(t *testing.T) {
	for name, tc := range map[string]struct {
		verdict exclusive.Verdict
		pins    string
		want    string
	}{
		"alone already":      {exclusive.Verdict{State: exclusive.Alone, Since: noon}, "2 6", ""},
		"no cgroups":         {exclusive.Verdict{}, "!0-7 !0-7", "Pinned vCPU 0→2 1→6; granted 2,6"},
		"pinned, and before": {exclusive.Verdict{State: exclusive.Alone, Since: noon}, "!0-7 !0-7", "Pinned vCPU 0→2 1→6; granted 2,6"},
	} {
		t.Run(name, func(t *testing.T) {
			b, set := judged(t)
			set(tc.verdict)
			b.vm("db", "2,6", tc.pins)
			b.run()
			b.await("pins", func() error {
				if b.controller.Pins()["db"] == "" {
					return fmt.Errorf("pins %v", b.controller.Pins())
				}
				return nil
			})
			b.quiet()
			if got := strings.Join(b.eventsOf("db"), ""); got != tc.want {
				t.Errorf("events %q, want %q", got, tc.want)
			}
		})
	}
}

// A loss is told when it begins and when its words change, and not when it ends.
func TestLossesAreTold(t *testing.T) {
	b, set := judged(t)
	v := exclusive.Verdict{State: exclusive.Alone, Since: noon}
	set(v)
	b.vm("db", "2,6", "2 6")
	b.owned("db")
	b.run()
	b.quiet()
	v.Loss = "25.0 % went to other threads"
	set(v)
	b.awaitEvents("db", "CPUTimeLost of the time of CPUs 2,6, 25.0 % went to other threads")
	b.quiet()
	v.Loss, v.Away = "", "more than 512 MiB of its memory is on NUMA node 1, where it has no CPU"
	set(v)
	b.awaitEvents("db", "CPUTimeLost", "MemoryAway more than 512 MiB")
}
