// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// A libvirt on a slow host needs longer for one look than the deadline, every time. It gets the time that it needs in
// the end, and its neighbour waits for nothing.
func TestASlowLibvirtGetsThereInTheEnd(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	slow := b.vm("slow", "2,6", "!0-7 !0-7")
	slow.slow = b.controller.Config.Deadline.Duration * 2 / 3 // so no two calls fit into one deadline
	b.vm("quick", "3,7", "!0-7 !0-7")
	b.run()
	b.awaitEvents("quick", "Pinned vCPU 0→3 1→7")
	if got := slow.pinned(); got != "" {
		t.Errorf("the quick one came after the slow one, which has %s", got)
	}
	b.await("the slow guest's pins", func() error {
		if got := slow.pinned(); got != "vCPU 0→2 vCPU 1→6" {
			return fmt.Errorf("pinned %q; events %q", got, b.eventsOf("slow"))
		}
		return nil
	})
	b.mu.Lock()
	slow.slow = 0
	b.mu.Unlock()
	b.await("the event", func() error {
		if events := b.eventsOf("slow"); len(events) == 0 || !strings.HasPrefix(events[len(events)-1], EventPinned) {
			return fmt.Errorf("%q", events)
		}
		return nil
	})
}

// While a libvirt takes its time, the kubelet may give the CPUs to somebody else.
func TestNothingIsPinnedToWhatWasGrantedBefore(t *testing.T) {
	synctest.Test(t, nothingIsPinnedToWhatWasGrantedBefore)
}

// In a bubble of synctest, since the guest's calls take a quarter of a deadline each.
func nothingIsPinnedToWhatWasGrantedBefore(t *testing.T) {
	b := serialFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "!0-7 !0-7")
	l.slow = b.controller.Config.Deadline.Duration / 4
	b.run()
	b.await("the look to begin", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if l.dialled == 0 {
			return fmt.Errorf("not connected yet")
		}
		return nil
	})
	b.set(func() { b.grants = map[types.UID]map[string]cpuset.Set{"db": {"compute": mustParse("3,7")}} })
	b.awaitEvents("db", "Pinned vCPU 0→3 1→7; granted 3,7")
	if got := l.pinned(); got != "vCPU 0→3 vCPU 1→7" {
		t.Errorf("pinned %s", got)
	}
}

// A CPU that has just come online is granted before the agent has looked which are.
func TestACPUThatCameOnlineIsWaitedFor(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	var host atomic.Pointer[cputopology.Topology]
	host.Store(cputopology.MustParse("1 sockets x 1 numa x 2 cores x 1 threads"))
	b.controller.Topology = host.Load
	l := b.vm("db", "1-2", "!0-7 !0-7")
	b.run()
	b.await("a look", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if l.asked < 4 {
			return fmt.Errorf("%d calls", l.asked)
		}
		return nil
	})
	if events := b.eventsOf("db"); len(events) != 0 {
		t.Errorf("told %q at once", events)
	}
	host.Store(cputopology.MustParse("1 sockets x 1 numa x 4 cores x 1 threads"))
	b.awaitEvents("db", "Pinned vCPU 0→1 1→2")
}

func TestACPUThatNeverComesOnlineIsTold(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	b.controller.Topology = func() *cputopology.Topology { return cputopology.MustParse("1 sockets x 1 numa x 2 cores x 1 threads") }
	b.vm("db", "1-2", "!0-7 !0-7")
	b.run()
	b.awaitEvents("db", "CannotPin the kubelet granted CPUs 1-2, and CPUs 2 of these are not seen online; compare")
}

// The longest a hanging libvirt is waited for is bounded, and longer than libvirt lets one call wait for another.
func TestDeadlinesGrowUpToABound(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	b.controller.Config.Deadline.Duration = time.Millisecond
	b.vm("db", "2,6", "!0-7 !0-7").hangs = true
	w := newWorker(b.controller, launcherPod("db", 2), b.launcherOf("db"))
	for _, want := range []time.Duration{2, 4, 8} {
		if w.look(t.Context()); w.pace.deadline() != want*time.Millisecond {
			t.Errorf("deadline %s, want %dms", w.pace.deadline(), want)
		}
	}
	b.set(func() { b.libvirts["db"].hangs = false })
	if w.look(t.Context()); w.pace.deadline() != time.Millisecond {
		t.Errorf("deadline %s once libvirt answers", w.pace.deadline())
	}
	w.hangUp()
	const jobWait = 30 * time.Second
	if maxDeadline <= jobWait {
		t.Errorf("calls are given up after %s, before libvirt gives them up", maxDeadline)
	}
}
