// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning/ledger"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/vmi"
)

// A guest that is being migrated is not asked about or pinned, and that is no failure; what is known of it stays.
func TestAGuestInTransitIsLeftAlone(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "!0-7 !0-7")
	l.err = fmt.Errorf("reading domain db: %w", ErrInTransit)
	b.run()
	b.quiet()
	if l.pinned() != "" || len(b.eventsOf("db")) > 0 {
		t.Errorf("a guest that is still on its way: pinned %q, told %q", l.pinned(), b.eventsOf("db"))
	}
	l.tell(func() { l.err = nil })
	b.awaitEvents("db", "Pinned vCPU 0→2 1→6")
	l.tell(func() { l.err = ErrInTransit })
	b.quiet()
	l.tell(func() { l.err = nil })
	b.quiet()
	b.awaitEvents("db", "Pinned")
	if c := b.controller.Condition(); c == nil || c.Reason != ledger.ReasonInPlace {
		t.Errorf("after a migration that came to nothing, condition %+v", c)
	}
}

// A guest that came by migration has the pins of the node that it came from. Nothing has drifted.
func TestPinsFromAnotherNodeAreNoDrift(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "5 1")
	l.err = ErrInTransit
	b.run()
	b.quiet()
	l.tell(func() { l.err = nil })
	b.awaitEvents("db", "Pinned moved vCPU 0: 5 → 2, vCPU 1: 1 → 6; now vCPU 0→2 1→6; granted 2,6")
	l.tell(func() { l.guest.VCPUs[1] = GuestThread{1, mustParse("5"), mustParse("5")} })
	b.awaitEvents("db", "Pinned", "DriftRepaired moved vCPU 1: 5 → 6")
}

// A guest that is being migrated away can be asked where its threads are, but not be pinned before libvirt is done.
func TestAGuestThatIsMigratedAwayIsLeftAlone(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "2 6")
	b.run()
	b.quiet()
	l.tell(func() { l.busy, l.guest.VCPUs[1] = true, GuestThread{1, mustParse("6"), mustParse("0-7")} })
	b.quiet()
	if events := b.eventsOf("db"); len(events) > 0 || l.pinned() != "" {
		t.Errorf("of a guest that libvirt works on was told %q, pinned %q", events, l.pinned())
	}
	b.mu.Lock()
	if l.dialled != 1 {
		t.Errorf("%d connections for one guest", l.dialled)
	}
	b.mu.Unlock()
	l.tell(func() { l.busy = false })
	b.awaitEvents("db", "DriftRepaired moved vCPU 1: 0-7 → 6")
}

// libvirt may begin with something else between two pins. What was done by then is in the event about the rest.
func TestPinsThatWereInterruptedAreNoDrift(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "!0-7 !0-7")
	l.busyAfter = 1
	b.run()
	b.await("the first pin", func() error {
		if got := l.pinned(); got != "vCPU 0→2" {
			return fmt.Errorf("pinned %q", got)
		}
		return nil
	})
	b.quiet()
	l.tell(func() { l.busyAfter = 0 })
	b.awaitEvents("db", "Pinned vCPU 0→2 1→6; granted 2,6")
}

// What had drifted when the kubelet changed the grant has moved with the rest.
func TestAnUntoldRepairBeforeANewGrantIsAMove(t *testing.T) {
	before := &change{cause: repaired, steps: []step{{thread: Thread{VCPU, 0}, was: cpuset.Of(2), from: cpuset.Of(3), to: cpuset.Of(2)}}}
	now := change{cause: regranted, before: cpuset.Of(2), steps: []step{{thread: Thread{VCPU, 0}, was: cpuset.Of(2), from: cpuset.Of(2), to: cpuset.Of(6)}}}
	if got := now.since(before); got.cause != regranted || got.before != cpuset.Of(2) || len(got.steps) != 1 {
		t.Errorf("got %+v", got)
	}
}

// libvirt has no event for a plugged vCPU. Where one is expected it is found before the next check of all pins.
func TestAVCPUThatIsExpectedIsFoundSoon(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	b.controller.Config.VerifyPeriod.Duration = time.Hour
	dedicated := vmiOfDomain(t, "{cpu: {cores: 3, dedicatedCpuPlacement: true}, resources: {requests: {memory: 64Mi}}}")
	b.controller.VMI = func(context.Context, *corev1.Pod) (*vmi.VMI, error) { return dedicated, nil }
	l := b.vm("db", "2,3,6", "!0-7 !0-7")
	l.guest.Pluggable = true
	b.run()
	b.awaitEvents("db", "Pinned vCPU 0→2 1→6")
	b.mu.Lock()
	l.guest.VCPUs = append(l.guest.VCPUs, GuestThread{ID: 2, Affinity: mustParse("2,3,6")})
	b.mu.Unlock()
	b.awaitEvents("db", "Pinned", "Pinned vCPU 0→2 1→6 2→3")
	b.mu.Lock()
	asked := l.asked
	b.mu.Unlock()
	<-time.After(5 * plugPeriod)
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.asked > asked+8 {
		t.Errorf("%d calls when nothing more is expected", l.asked-asked)
	}
}
