// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning/ledger"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/vmi"
)

// vmiOfDomain decodes VMI vms/db of that domain.
func vmiOfDomain(t *testing.T, domain string) *vmi.VMI {
	t.Helper()
	v, err := vmi.Decode([]byte("apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: db, namespace: vms, uid: vmi-uid}\nspec: {domain: " + domain + "}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// owned gives the fixture's pods of that name an owner: VMI vms/db.
func (b *fixture) owned(names ...string) {
	b.t.Helper()
	for _, name := range names {
		object, _, _ := b.pods.GetByKey("vms/" + name)
		pod := object.(*corev1.Pod).DeepCopy()
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "kubevirt.io/v1", Kind: "VirtualMachineInstance", Name: "db", UID: "vmi-uid"}}
		if err := b.pods.Update(pod); err != nil {
			b.t.Fatal(err)
		}
	}
}

func TestTheVMIDecides(t *testing.T) {
	for name, tc := range map[string]struct {
		domain, guest, granted string
		want                   string
	}{
		"a pool of one": {`{cpu: {cores: 2, dedicatedCpuPlacement: true}, ioThreadsPolicy: supplementalPool, ioThreads: {supplementalPoolThreadCount: 1}}`,
			"!0-7 !0-7 io:!0-7", "2,3,6", "vCPU 0→2 1→6, IO thread 1→3"},
		"an isolated emulator": {`{cpu: {cores: 2, dedicatedCpuPlacement: true, isolateEmulatorThread: true}, ioThreadsPolicy: auto}`,
			"!0-7 !0-7 io:!0-7", "2,3,6", "vCPU 0→2 1→6, emulator→3, IO thread 1→3"},
		"CPUs that nobody asked for": {`{cpu: {cores: 2, dedicatedCpuPlacement: true}, ioThreadsPolicy: auto, ioThreads: {supplementalPoolThreadCount: 1}}`,
			"!0-7 !0-7 io:!0-7", "2,3,6", "vCPU 0→2 1→6, IO thread 1→2-3"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t, config.PinningEnforce)
			v := vmiOfDomain(t, tc.domain)
			b.controller.VMI = func(context.Context, *corev1.Pod) (*vmi.VMI, error) { return v, nil }
			b.vm("db", tc.granted, tc.guest)
			b.owned("db")
			b.run()
			b.awaitEvents("db", "Pinned "+tc.want+"; granted")
		})
	}
}

func TestWithoutAVMIThePinsAreNotLate(t *testing.T) {
	for name, read := range map[string]func(context.Context, *corev1.Pod) (*vmi.VMI, error){
		"it may not be read": func(context.Context, *corev1.Pod) (*vmi.VMI, error) { return nil, errors.New("forbidden") },
		"the server hangs": func(ctx context.Context, _ *corev1.Pod) (*vmi.VMI, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t, config.PinningEnforce)
			b.controller.Config.Deadline.Duration = 10 * vmiTimeout
			b.controller.VMI = read
			b.vm("db", "2,3,6", "!0-7 !0-7")
			b.owned("db")
			b.run()
			b.awaitEvents("db", "Pinned vCPU 0→2 1→6, emulator→3")
		})
	}
}

// Two labels make a pod look like a launcher. What is behind the socket in it is dialled only where a VMI owns the pod
// by its UID, or the configuration names the namespace.
func TestOnlyLaunchersAreDialled(t *testing.T) {
	own := vmiOfDomain(t, `{cpu: {cores: 2, dedicatedCpuPlacement: true}}`)
	own.UID = "vmi-uid"
	another := vmiOfDomain(t, `{cpu: {cores: 2, dedicatedCpuPlacement: true}}`)
	another.UID = "another"
	for name, tc := range map[string]struct {
		owned      bool
		vmi        *vmi.VMI
		namespaces []string
		want       string
	}{
		"a VMI owns it":              {true, own, nil, "Pinned vCPU 0→2 1→6"},
		"no VMI owns it":             {false, nil, nil, "CannotPin pod vms/db is labelled as a launcher pod, and no VMI owns it; where launcher pods have no VMI, name their namespace in pinning.launcherNamespaces"},
		"its VMI is gone":            {true, nil, nil, "CannotPin pod vms/db is labelled as a launcher pod, and no VMI owns it"},
		"another VMI has its name":   {true, another, nil, "CannotPin pod vms/db is labelled as a launcher pod, and no VMI owns it"},
		"another namespace is named": {false, nil, []string{"machines"}, "CannotPin"},
		"its namespace is named":     {false, nil, []string{"machines", "vms"}, "Pinned vCPU 0→2 1→6"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t, config.PinningEnforce)
			b.controller.Config.LauncherNamespaces = tc.namespaces
			b.controller.VMI = func(context.Context, *corev1.Pod) (*vmi.VMI, error) { return tc.vmi, nil }
			l := b.vm("db", "2,6", "!0-7 !0-7")
			if tc.owned {
				b.owned("db")
			}
			b.run()
			b.awaitEvents("db", tc.want)
			b.mu.Lock()
			defer b.mu.Unlock()
			if dialled, want := l.dialled > 0, strings.HasPrefix(tc.want, "Pinned"); dialled != want {
				t.Errorf("dialled: %t, want %t", dialled, want)
			}
		})
	}
}

func TestRepairLeavesTheFirstPinsToOthers(t *testing.T) {
	b := newFixture(t, config.PinningRepair)
	l := b.vm("db", "2,6", "!0-7 !0-7")
	b.run()
	b.awaitEvents("db", "CannotPin nobody has pinned the guest on the granted CPUs 2,6, and pinning.mode of the agent is repair; see the log of the compute container")
	if l.pinned() != "" {
		t.Errorf("mode repair made the first pins: %s", l.pinned())
	}
	l.tell(func() { *l.guest = *guestOf("6 2"); l.guest.Run = 1 })
	b.quiet()
	b.awaitEvents("db", "CannotPin")
	l.tell(func() { l.guest.VCPUs[0] = GuestThread{0, cpuset.Of(5), cpuset.Of(5)} })
	b.awaitEvents("db", "CannotPin", "DriftRepaired moved vCPU 0: 5 → 6; now vCPU 0→6 1→2")
}

func TestTheContainersCPUSetIsCompared(t *testing.T) {
	for name, tc := range map[string]struct {
		cpuset, want string
		pinned       bool
	}{
		"elsewhere": {"0-1", "CannotPin the kubelet granted CPUs 2,6 to container compute, and its cgroup lets it use 0-1; the kubelet writes", false},
		"too wide":  {"0-7", "CannotPin the kubelet granted CPUs 2,6 to container compute, and its cgroup lets it use 0-7", true},
		"confined":  {"0-5", "CannotPin the kubelet granted CPUs 2,6 to container compute, and its cgroup lets it use 0-5, since kubepods.slice above it has no more; take the limit (AllowedCPUs, cpuset.cpus) off kubepods.slice", true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t, config.PinningEnforce)
			now := mustParse(tc.cpuset)
			b.controller.CPUSet = func(*corev1.Pod, string) (cpuset.Set, bool, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				return now, true, nil
			}
			b.controller.Confiner = func(_ *corev1.Pod, _ string, cpus cpuset.Set) string {
				if name == "confined" && cpus == mustParse("2,6") {
					return "kubepods.slice"
				}
				return ""
			}
			l := b.vm("db", "2,6", "!0-7 !0-7")
			b.run()
			b.await("the complaint", func() error {
				events := b.eventsOf("db")
				if len(events) == 0 || !strings.HasPrefix(events[len(events)-1], tc.want) {
					return fmt.Errorf("events are %q", events)
				}
				return nil
			})
			if pinned := l.pinned() != ""; pinned != tc.pinned {
				t.Errorf("pinned is %t (%s), want %t", pinned, l.pinned(), tc.pinned)
			}
			b.await("the condition", func() error { // The event is told before it.
				c := b.controller.Condition()
				if c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "its cgroup lets it use") {
					return fmt.Errorf("condition %+v", c)
				}
				return nil
			})
			b.set(func() { now = mustParse("2,6") })
			b.await("all to be well", func() error {
				if c := b.controller.Condition(); c.Status != metav1.ConditionFalse || l.pinned() == "" {
					return fmt.Errorf("condition %+v, pinned %s", c, l.pinned())
				}
				return nil
			})
		})
	}
}

func TestTwoVMsOnOneCPUAreTold(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	b.controller.Node = func() runtime.Object { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}} }
	b.vm("one", "2,6", "2 6")
	b.vm("two", "3,7", "3 7")
	b.owned("one", "two")
	b.run()
	b.quiet()
	if len(b.events) != 0 {
		t.Fatalf("told %q of VMs that share nothing", b.events)
	}
	b.set(func() { // as after a kubelet that lost its state
		b.grants = map[types.UID]map[string]cpuset.Set{"one": {"compute": mustParse("2,6")}, "two": {"compute": mustParse("2,7")}}
	})
	b.awaitEvents("one", "CPUConflict critical: VM vms/db shares CPU 2 with VM vms/db, and neither has it to itself")
	b.awaitEvents("two", "Moved the kubelet granted CPUs 2,7 in place of 3,7: moved vCPU 0: 3 → 2", "CPUConflict critical: VM vms/db shares CPU 2")
	b.awaitEvents("vmi/db", "Moved", "CPUConflict", "CPUConflict")
	b.awaitEvents("node/n1", "CPUConflict critical: two VMs on one CPU", "CPUConflict critical: two VMs on one CPU")
	b.await("the condition", func() error {
		if c := b.controller.Condition(); c.Status != metav1.ConditionTrue || c.Reason != ledger.ReasonConflict {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
	b.set(func() {
		b.grants = map[types.UID]map[string]cpuset.Set{"one": {"compute": mustParse("2,6")}, "two": {"compute": mustParse("3,7")}}
	})
	b.await("the conflict to be over", func() error {
		if c := b.controller.Condition(); c.Status != metav1.ConditionFalse {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
}

func TestWhatTheReportSays(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	changes := make(chan struct{}, 1000)
	b.controller.Changed = func() { changes <- struct{}{} }
	if b.controller.Condition() != nil || b.controller.Pins() != nil {
		t.Error("something is said before anything is known")
	}
	l := b.vm("db", "2,6", "!0-7 !0-7")
	b.vm("waits", "3,7", "")
	b.owned("db")
	b.run()
	said := func(pins, reason, text string) {
		t.Helper()
		b.await("the report's words", func() error {
			c, p := b.controller.Condition(), b.controller.Pins()
			if c == nil || c.Reason != reason || !strings.Contains(c.Message, text) || p["db"] != pins || len(p) != 1 {
				return fmt.Errorf("condition %+v and pins %v, want %s with %q and %q", c, p, reason, text, pins)
			}
			return nil
		})
	}
	said("0=2 1=6", ledger.ReasonInPlace, "")
	if len(changes) == 0 {
		t.Error("nobody was told that there is something to report")
	}
	for len(changes) > 0 {
		<-changes
	}
	l.tell(func() { l.guest.VCPUs[0] = GuestThread{0, cpuset.Of(5), cpuset.Of(5)} })
	said("0=2 1=6", ledger.ReasonRepaired, "VM vms/db: vCPU 0: 5 → 2")
	b.await("word of the repair", func() error {
		if len(changes) == 0 {
			return errors.New("nobody was told that the condition changed")
		}
		return nil
	})
	b.awaitEvents("vmi/db", "DriftRepaired moved vCPU 0: 5 → 2")
	l.tell(func() { l.ignores = true; l.guest.VCPUs[0] = GuestThread{0, cpuset.Of(5), cpuset.Of(5)} })
	said("0=5 1=6", ledger.ReasonMisplaced, "VM vms/db: vCPU 0: 5 → 2")
	l.tell(func() { l.err = ErrUnreachable }) // what it said last stays
	b.quiet()
	if pins := b.controller.Pins(); pins["db"] != "0=5 1=6" {
		t.Errorf("a libvirt that does not answer has pins %v", pins)
	}
	l.tell(func() { l.err, l.ignores, l.guest = nil, false, nil })
	b.await("the pins of a guest that ended to go", func() error {
		if pins := b.controller.Pins(); len(pins) != 0 {
			return fmt.Errorf("pins %v", pins)
		}
		return nil
	})
}

// Two programs that want a thread in two places do not keep a core busy with it.
func TestAFightIsFoughtSlowly(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "2 6")
	b.run()
	b.quiet()
	rounds := 0
	for end := b.controller.clock.After(3 * maxGap / 4); ; rounds++ {
		l.tell(func() { l.guest.VCPUs[0] = GuestThread{0, cpuset.Of(5), cpuset.Of(5)} })
		select {
		case <-end:
		case <-b.controller.clock.After(minGap / 2):
			continue
		}
		break
	}
	repairs := len(b.eventsOf("db"))
	if repairs < 3 || repairs > 10 {
		t.Errorf("%d repairs in %d rounds of %s each", repairs, rounds, minGap/2)
	}
}

// A user's own node selector makes a pod look dedicated; the VMI knows better.
func TestAVMThatAskedForNothingIsLeftAlone(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	b.controller.VMI = func(context.Context, *corev1.Pod) (*vmi.VMI, error) { return &vmi.VMI{}, nil }
	b.vm("none", "", "!0-7")
	whole := b.vm("whole", "2,6", "!0-7 !0-7")
	b.run()
	b.quiet()
	for _, name := range []string{"none", "whole"} {
		if told := b.eventsOf(name); len(told) != 0 {
			t.Errorf("told %q of %s", told, name)
		}
	}
	if got := whole.pinned(); got != "" {
		t.Errorf("pinned %s", got)
	}
}
