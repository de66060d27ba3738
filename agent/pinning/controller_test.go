// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics/testutil"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/cpuset"
)

func TestPinsOnceAndTellsOnce(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2-3,6", "!0-7 !0-7 io:!0-7")
	b.run()
	b.awaitEvents("db", "Pinned vCPU 0→2 1→6, emulator→3, IO thread 1→3; granted 2-3,6")
	b.quiet()
	b.awaitEvents("db", "Pinned")
	if got := l.pinned(); got != "emulator→3 IO thread 1→3 vCPU 0→2 vCPU 1→6" {
		t.Errorf("pinned %s", got)
	}
}

func TestValidPinsAreLeftAlone(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "6 2")
	b.run()
	b.quiet()
	if l.pinned() != "" || len(b.eventsOf("db")) != 0 {
		t.Errorf("pinned %q and told %q, though another's placement was valid", l.pinned(), b.eventsOf("db"))
	}
	l.tell(func() { l.guest.VCPUs[0] = GuestThread{0, cpuset.Of(2), cpuset.Of(2)} })
	b.awaitEvents("db", "DriftRepaired moved vCPU 0: 2 → 6; now vCPU 0→6 1→2")
}

func TestDriftIsFoundWithoutAnEvent(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "2 6")
	b.run()
	b.quiet()
	b.mu.Lock() // no Trigger, no Changed: only the verify period finds it
	l.guest.VCPUs[1].Affinity = cpuset.Of(0, 1)
	b.mu.Unlock()
	b.awaitEvents("db", "DriftRepaired moved vCPU 1: 0-1 → 6")
}

func TestObserveChangesNothing(t *testing.T) {
	b := newFixture(t, config.PinningObserve)
	l := b.vm("db", "2,6", "2 5")
	b.run()
	b.awaitEvents("db", "Misplaced not where they should be: vCPU 1: 5 → 6")
	b.quiet()
	b.awaitEvents("db", "Misplaced")
	l.tell(func() { l.guest.VCPUs[1] = GuestThread{1, cpuset.Of(7), cpuset.Of(7)} })
	b.awaitEvents("db", "Misplaced", "Misplaced not where they should be: vCPU 1: 7 → 6")
	if l.pinned() != "" {
		t.Errorf("mode observe pinned %q", l.pinned())
	}
}

func TestTheGrantIsFollowed(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "!0-7 !0-7")
	b.owned("db")
	b.set(func() { b.grants = nil }) // the agent has not read the kubelet's checkpoint yet
	b.run()
	b.quiet()
	if l.pinned() != "" || len(b.eventsOf("db")) != 0 {
		t.Errorf("pinned %q and told %q before any grant was known", l.pinned(), b.eventsOf("db"))
	}
	grant := func(cpus string) {
		b.set(func() { b.grants = map[types.UID]map[string]cpuset.Set{"db": {"compute": mustParse(cpus)}} })
	}
	grant("2,6")
	b.awaitEvents("db", "Pinned vCPU 0→2 1→6")
	grant("3,7")
	const moved = "Moved the kubelet granted CPUs 3,7 in place of 2,6: moved vCPU 0: 2 → 3, vCPU 1: 6 → 7; now vCPU 0→3 1→7; granted 3,7"
	b.awaitEvents("db", "Pinned", moved)
	b.awaitEvents("vmi/db", moved)
	b.set(func() { // the kubelet has written the container its new cpuset, and the kernel moved the threads there
		b.grants = map[types.UID]map[string]cpuset.Set{"db": {"compute": mustParse("0,4")}}
		l.guest.VCPUs[0].Affinity, l.guest.VCPUs[1].Affinity = mustParse("0,4"), mustParse("0,4")
	})
	b.awaitEvents("db", "Pinned", "Moved", "Moved the kubelet granted CPUs 0,4 in place of 3,7: moved vCPU 0: 0,4 → 0, vCPU 1: 0,4 → 4")
}

func TestDedicatedWithoutExclusiveCPUsIsTold(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	none := b.vm("none", "", "!0-7")
	b.vm("burstable", "", "!0-7")
	burstable := launcherPod("burstable", 1)
	burstable.Spec.Containers[0].Resources.Limits = nil
	burstable.Status.QOSClass = corev1.PodQOSBurstable
	if err := b.pods.Update(burstable); err != nil {
		t.Fatal(err)
	}
	b.run()
	b.awaitEvents("none", "NotExclusive VM vms/db asked dedicated CPUs, but container compute has no exclusive ones: the kubelet granted none")
	b.awaitEvents("burstable", `NotExclusive VM vms/db asked dedicated CPUs, but container compute has no exclusive ones: container "compute" has no cpu limit`)
	b.quiet()
	b.awaitEvents("none", "NotExclusive")
	if none.pinned() != "" {
		t.Errorf("pinned %q without a grant", none.pinned())
	}
}

// That the kubelet granted nothing is said on its word only, not because its word cannot be read.
func TestAnUnreadableStateIsNoLackOfCPUs(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	old := b.vm("old", "2,6", "!0-7 !0-7")
	b.vm("new", "", "!0-7")
	b.torn = true
	b.run()
	b.awaitEvents("old", "Pinned vCPU 0→2 1→6") // what was granted before still holds
	b.quiet()
	if told := b.eventsOf("new"); len(told) != 0 {
		t.Errorf("told %q of a VM whose grant cannot be read", told)
	}
	b.set(func() { b.torn = false })
	b.awaitEvents("new", "NotExclusive")
	if got := old.pinned(); got != "vCPU 0→2 vCPU 1→6" {
		t.Errorf("pinned %s", got)
	}
}

func TestFailuresAreToldAndRetried(t *testing.T) {
	for name, tc := range map[string]struct {
		fail  func(*fakeLibvirt)
		event string
		label string
	}{
		"unreachable": {func(l *fakeLibvirt) { l.err = fmt.Errorf("%w: no such file", ErrUnreachable) },
			"CannotPin connecting to libvirt: libvirt is not reachable: no such file; see whether the compute container runs", "unreachable"},
		"hangs":      {func(l *fakeLibvirt) { l.hangs = true }, "CannotPin no answer within 300ms: connecting to libvirt", "timeout"},
		"refuses":    {func(l *fakeLibvirt) { l.err = errors.New("access denied") }, "CannotPin connecting to libvirt: access denied", "libvirt"},
		"pretends":   {func(l *fakeLibvirt) { l.ignores = true }, "CannotPin libvirt took the pins, but the threads are elsewhere: vCPU 0: 0-7 → 2", "unverified"},
		"unreadable": {func(l *fakeLibvirt) { l.err = fmt.Errorf("%w: no vCPU", ErrUnreadable) }, "CannotPin connecting to libvirt: the guest's description is not readable", "unreadable"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t, config.PinningEnforce)
			l := b.vm("db", "2,6", "!0-7 !0-7")
			b.vm("other", "3,7", "!0-7 !0-7")
			tc.fail(l)
			before, err := testutil.GetCounterMetricValue(passErrors.WithLabelValues(tc.label))
			if err != nil {
				t.Fatal(err)
			}
			b.run()
			b.awaitEvents("other", "Pinned vCPU 0→3 1→7") // whatever its neighbour does
			b.awaitEvents("db", tc.event)
			b.quiet()
			b.awaitEvents("db", tc.event)
			if after, err := testutil.GetCounterMetricValue(passErrors.WithLabelValues(tc.label)); err != nil || after <= before {
				t.Errorf("errors with reason %s went from %v to %v (%v)", tc.label, before, after, err)
			}
			b.set(func() { l.err, l.hangs, l.ignores = nil, false, false })
			b.awaitEvents("db", tc.event, "Pinned vCPU 0→2 1→6")
		})
	}
}

func TestAStartThatTakesAMomentIsNotTold(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "")
	l.err = ErrUnreachable
	b.run()
	b.await("a first failure", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if l.asked == 0 {
			return errors.New("libvirt was not asked yet")
		}
		return nil
	})
	b.set(func() { l.err = nil })
	b.quiet() // libvirt is there, the guest is not
	l.tell(func() { l.guest = guestOf("!0-7 !0-7") })
	b.awaitEvents("db", "Pinned")
}

func TestAPluggedVCPUIsPinnedAndIsNoDrift(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,3,6,7", "2 6 em:3")
	b.run()
	b.quiet()
	l.tell(func() { l.guest.VCPUs = append(l.guest.VCPUs, GuestThread{ID: 2, Affinity: mustParse("2,3,6,7")}) })
	b.awaitEvents("db", "Pinned moved emulator: 3 → 7, vCPU 2: 2-3,6-7 → 3; now vCPU 0→2 1→6 2→3, emulator→7")
	if got := l.pinned(); strings.Contains(got, "vCPU 0") || strings.Contains(got, "vCPU 1") {
		t.Errorf("vCPUs that were in place moved for the new one: %s", got)
	}
}

// The vCPUs after one that is taken out keep their numbers and their pins.
func TestAnUnpluggedVCPUIsNoDrift(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,3,6", "2 6 3")
	b.run()
	b.quiet()
	l.tell(func() { l.guest.VCPUs = append(l.guest.VCPUs[:1:1], l.guest.VCPUs[2]) })
	b.quiet()
	if events := b.eventsOf("db"); len(events) > 0 || l.pinned() != "" {
		t.Errorf("told %q and pinned %q", events, l.pinned())
	}
	if pins := b.controller.Pins()["db"]; pins != "0=2 2=3" {
		t.Errorf("the report says %q", pins)
	}
}

// A pod that was granted no CPUs has nothing to be pinned to, so its libvirt is not asked anything.
func TestAVMWithoutAGrantIsNotDialled(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "", "!0-7")
	b.run()
	b.awaitEvents("db", "NotExclusive")
	b.quiet()
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.dialled != 0 {
		t.Errorf("connected %d times to the libvirt of a pod without exclusive CPUs", l.dialled)
	}
}

func TestANewRunIsPinnedAgain(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "!0-7 !0-7")
	b.run()
	b.awaitEvents("db", "Pinned")
	l.tell(func() { l.guest = nil })
	l.tell(func() { l.guest = guestOf("!0-7 !0-7"); l.guest.Run = 2 })
	b.awaitEvents("db", "Pinned", "Pinned")
}

func TestALostConnectionIsMadeAgain(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "!0-7 !0-7")
	b.run()
	b.awaitEvents("db", "Pinned")
	b.mu.Lock()
	close(l.changed[0])
	l.changed = nil
	b.mu.Unlock()
	b.await("a second connection", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(l.changed) != 1 || l.open != 1 {
			return fmt.Errorf("%d connections were made since, %d are open", len(l.changed), l.open)
		}
		return nil
	})
}

func TestOnlyRunningDedicatedLaunchersAreLookedAt(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	libvirts := map[string]*fakeLibvirt{}
	for name, change := range map[string]func(*corev1.Pod){
		"shared":   func(p *corev1.Pod) { p.Spec.NodeSelector = nil },
		"web":      func(p *corev1.Pod) { p.Labels = nil },
		"pending":  func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending },
		"ended":    func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
		"creating": func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "compute"}} },
	} {
		libvirts[name] = b.vm(name, "2", "!0-7")
		pod := launcherPod(name, 1)
		change(pod)
		if err := b.pods.Update(pod); err != nil {
			t.Fatal(err)
		}
	}
	l := b.vm("db", "2,6", "!0-7 !0-7")
	b.run()
	b.awaitEvents("db", "Pinned")
	b.quiet()
	for _, pod := range []string{"shared", "web", "pending", "ended", "creating"} {
		if got, events := libvirts[pod].pinned(), b.eventsOf(pod); got != "" || len(events) != 0 {
			t.Errorf("pod %s: pinned %q and told %q", pod, got, events)
		}
	}
	if err := b.pods.Delete(launcherPod("db", 2)); err != nil {
		t.Fatal(err)
	}
	b.controller.Trigger()
	b.await("the connection to be closed with the pod", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if l.open != 0 {
			return fmt.Errorf("%d are open", l.open)
		}
		return nil
	})
}

func TestRunRefusesToStartHalfWired(t *testing.T) {
	if err := New(Options{}).Run(t.Context()); err == nil {
		t.Error("a controller without anything started")
	}
}
