// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/pkg/cpuset"
)

func vmNamed(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "vms", Name: name}
}

func mustParse(text string) cpuset.Set {
	cpus, err := cpuset.Parse(text)
	if err != nil {
		panic(err)
	}
	return cpus
}

// newLedger gives a ledger that knows all pods, and its clock.
func newLedger() (*Ledger, *testingclock.FakeClock) {
	clock := testingclock.NewFakeClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	l := New(clock)
	l.AllKnown()
	return l, clock
}

// Each change of the report is a write at the API server, whoever makes the guest flap.
func TestAFlappingGuestWritesLittle(t *testing.T) {
	l, clock := newLedger()
	writes := 0
	wild, calm := l.Open("wild", vmNamed("wild")), l.Open("calm", vmNamed("calm"))
	for n := range 6000 { // ten minutes
		l.Repaired(vmNamed("wild"), fmt.Sprint("back from CPU ", n%3))
		if wild.Put(Entry{VM: vmNamed("wild"), Pins: fmt.Sprintf("0=%d", n%2), Drift: fmt.Sprint("to CPU ", n%2)}).Shown {
			writes++
		}
		clock.Step(100 * time.Millisecond)
	}
	if limit := 2 * (7 + 10); writes > limit { // the guest, and the last drift
		t.Errorf("%d changes of the report in ten minutes, at most %d are right", writes, limit)
	}
	if calm.Put(Entry{VM: vmNamed("calm"), Pins: "0=5"}); l.Pins()["calm"] != "0=5" {
		t.Errorf("another guest waits for the wild one: pins %v", l.Pins())
	}
	for range 20 { // it has come to rest; there is a look every four seconds
		wild.Put(Entry{VM: vmNamed("wild"), Pins: "0=7"})
		clock.Step(4 * time.Second)
	}
	if l.Pins()["wild"] != "0=7" {
		t.Errorf("in the end the report says %v", l.Pins())
	}
	clock.Step(2 * longestPause)
	if !wild.Put(Entry{VM: vmNamed("wild"), Pins: "0=6"}).Shown {
		t.Error("a single change later on waits")
	}
}

// What is held back is due at a time that the worker is told.
func TestAChangeThatIsHeldBackIsDueSoon(t *testing.T) {
	l, clock := newLedger()
	g := l.Open("pod", vmNamed("vm"))
	g.Put(Entry{})
	g.Put(Entry{Pins: "0=1"})
	u := g.Put(Entry{Pins: "0=2"})
	if u.Shown || u.Again == 0 || u.Again > firstPause {
		t.Fatalf("a second change at once: %+v", u)
	}
	clock.Step(u.Again)
	if u := g.Put(Entry{Pins: "0=2"}); !u.Shown || l.Pins()["pod"] != "0=2" {
		t.Errorf("when it is due: %+v, pins %v", u, l.Pins())
	}
}

// A thread that goes to and fro between two CPUs of another VM is one conflict, told once and always in the same words.
func TestAConflictHasOneText(t *testing.T) {
	l, clock := newLedger()
	mine, first, second := l.Open("pod-a", vmNamed("mine")), l.Open("pod-c", vmNamed("first")), l.Open("pod-b", vmNamed("second"))
	put := func(g *Guest, held string) Update { return g.Put(Entry{VM: g.entry.VM, Held: mustParse(held)}) }
	put(first, "2")
	var told []string
	texts := map[string]bool{}
	for n := range 100 {
		put(second, []string{"2", "3"}[n%2])
		u := put(mine, "2-3")
		for _, c := range u.Conflicts {
			told = append(told, c.String())
		}
		if want := n < 3; (u.Again == conflictGrace-time.Duration(n)*conflictGrace/3) != want && want {
			t.Errorf("look %d: the next is due in %s", n, u.Again)
		}
		if n > 12 {
			texts[l.guests["pod-a"].shown.shares] = true
		}
		clock.Step(conflictGrace / 3)
	}
	want := []string{"CPU 2 with VM vms/first", "CPU 2-3 with VM vms/second"}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want once %q", told, want)
	}
	if len(texts) != 1 || !texts[strings.Join(want, ", ")] {
		t.Errorf("the report says %v", texts)
	}
	second.Close()
	first.Close()
	put(mine, "2-3")
	clock.Step(2 * time.Hour)
	first = l.Open("pod-c", vmNamed("first"))
	put(first, "2")
	put(mine, "2-3")
	clock.Step(conflictGrace)
	put(first, "2")
	if u := put(mine, "2-3"); len(u.Conflicts) != 1 {
		t.Errorf("told %v of a conflict that began anew", u.Conflicts)
	}
	third := l.Open("pod-d", vmNamed("third"))
	put(third, "3")
	put(mine, "2-3")
	clock.Step(conflictGrace)
	if u := put(mine, "2-3"); len(u.Conflicts) != 1 || u.Conflicts[0].String() != "CPU 3 with VM vms/third" {
		t.Errorf("told %v of a third one", u.Conflicts)
	}
}

// The kubelet swaps the grants of two VMs, and the libvirt of one hangs: what it was seen on is another's by now.
func TestSwappedGrantsAreNoConflict(t *testing.T) {
	l, clock := newLedger()
	a, b := l.Open("pod-a", vmNamed("first")), l.Open("pod-b", vmNamed("second"))
	a.Put(Entry{VM: vmNamed("first"), Held: mustParse("2-3")})
	b.Put(Entry{VM: vmNamed("second"), Held: mustParse("4-5")})
	l.Regrant(map[types.UID]cpuset.Set{"pod-a": mustParse("4-5"), "pod-b": mustParse("2-3"), "unknown": mustParse("2")})
	clock.Step(2 * conflictGrace)
	if u := a.Put(Entry{VM: vmNamed("first"), Held: mustParse("4-5")}); len(u.Conflicts) > 0 || u.Again > firstPause {
		t.Errorf("a conflict: %+v", u)
	}
}

// A worker that was replaced, because its container was started again, may still be in its last look.
func TestAReplacedEntryLeavesItsSuccessorAlone(t *testing.T) {
	l, clock := newLedger()
	old := l.Open("pod", vmNamed("db"))
	old.Put(Entry{VM: vmNamed("db"), Pins: "0=1"})
	clock.Step(firstPause)
	successor := l.Open("pod", vmNamed("db"))
	successor.Put(Entry{VM: vmNamed("db"), Pins: "0=2 1=6", Held: mustParse("2,6")})
	old.Put(Entry{VM: vmNamed("db"), Pins: "0=1", Held: mustParse("1")})
	old.Close()
	other := l.Open("other", vmNamed("other"))
	other.Put(Entry{VM: vmNamed("other"), Held: mustParse("6")})
	if l.Pins()["pod"] != "0=2 1=6" || len(other.conflicts) != 1 {
		t.Errorf("pins %v, conflicts %v", l.Pins(), other.conflicts)
	}
	successor.Close()
	if len(l.Pins()) != 0 {
		t.Errorf("pins of a pod that is gone: %v", l.Pins())
	}
}

func TestNothingIsSaidBeforeEveryGuestWasLookedAt(t *testing.T) {
	l := New(testingclock.NewFakeClock(time.Now()))
	first, second := l.Open("first", vmNamed("first")), l.Open("second", vmNamed("second"))
	first.Put(Entry{Pins: "0=1"})
	second.Put(Entry{Pins: "0=2"})
	if l.Pins() != nil || l.Condition() != nil {
		t.Error("said something before the pods were listed")
	}
	third := l.Open("third", vmNamed("third"))
	if l.AllKnown() || l.Pins() != nil {
		t.Error("said something before the third was looked at")
	}
	third.Close()
	if len(l.Pins()) != 2 || l.Condition().Reason != ReasonInPlace {
		t.Errorf("pins %v, condition %+v", l.Pins(), l.Condition())
	}
}

func TestMessagesFitTheAPI(t *testing.T) {
	if got := Shorten("short"); got != "short" {
		t.Errorf("Shorten changed %q", got)
	}
	got := Shorten(strings.Repeat("→", maxMessage))
	if len(got) > maxMessage || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("a long message became %d bytes ending in %q", len(got), got[len(got)-8:])
	}
}
