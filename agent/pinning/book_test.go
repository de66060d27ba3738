package pinning

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func vmNamed(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "vms", Name: name}
}

// Each change of the report is a write at the API server, whoever makes the guest flap.
func TestAFlappingGuestWritesLittle(t *testing.T) {
	b := newBook()
	b.all()
	now, writes := noon, 0
	flap := func(pod types.UID, n int) {
		b.put(pod, entry{vm: vmNamed(string(pod)), pins: fmt.Sprintf("0=%d", n%2), drift: fmt.Sprint("to CPU ", n%2)})
		b.repaired(vmNamed(string(pod)), fmt.Sprint("back from CPU ", n%3))
		if b.show(pod, now) {
			writes++
		}
	}
	for n := range 6000 { // ten minutes
		flap("wild", n)
		now = now.Add(100 * time.Millisecond)
	}
	if limit := 2 * (7 + 10); writes > limit { // the guest, and the last drift
		t.Errorf("%d changes of the report in ten minutes, at most %d are right", writes, limit)
	}
	before := writes
	b.put("calm", entry{vm: vmNamed("calm"), pins: "0=5"})
	if b.show("calm", now); b.pins()["calm"] != "0=5" {
		t.Errorf("another guest waits for the wild one: pins %v", b.pins())
	}
	for range 20 { // it has come to rest; there is a look every four seconds
		b.put("wild", entry{vm: vmNamed("wild"), pins: "0=7"})
		b.show("wild", now)
		now = now.Add(4 * time.Second)
	}
	if b.pins()["wild"] != "0=7" {
		t.Errorf("in the end the report says %v after %d more changes", b.pins(), writes-before)
	}
	if b.put("wild", entry{vm: vmNamed("wild"), pins: "0=6"}); !b.show("wild", now.Add(2*longestPause)) {
		t.Error("a single change later on waits")
	}
}

// A thread that goes to and fro between two CPUs of another VM is one conflict, told once and always in the same words.
func TestAConflictHasOneText(t *testing.T) {
	b := newBook()
	b.all()
	b.put("pod-a", entry{vm: vmNamed("mine"), held: mustParse("2-3")})
	b.put("pod-c", entry{vm: vmNamed("first"), held: mustParse("2")})
	var told []string
	texts := map[string]bool{}
	for n := range 100 {
		now := noon.Add(time.Duration(n) * conflictGrace / 3)
		b.put("pod-b", entry{vm: vmNamed("second"), held: mustParse([]string{"2", "3"}[n%2])})
		news, pending := b.conflictOf("pod-a", now)
		if news != "" {
			told = append(told, news)
		}
		if want := n < 3; pending != want {
			t.Errorf("look %d: pending is %t", n, pending)
		}
		if b.show("pod-a", now); n > 3 {
			texts[b.condition().Message] = true
		}
	}
	const want = "CPU 2 with VM vms/first, CPU 2-3 with VM vms/second"
	if len(told) != 1 || told[0] != want {
		t.Errorf("told %q, want once %q", told, want)
	}
	if len(texts) != 1 || !texts["VM vms/mine shares "+want] {
		t.Errorf("the condition says %v", texts)
	}
	end := noon.Add(2 * time.Hour)
	b.drop("pod-b")
	if news, pending := b.conflictOf("pod-a", end); news != "" || pending {
		t.Errorf("told %q of the one that stays", news)
	}
	if b.show("pod-a", end); b.condition().Message != "VM vms/mine shares CPU 2 with VM vms/first" {
		t.Errorf("the condition says %q", b.condition().Message)
	}
	b.put("pod-d", entry{vm: vmNamed("third"), held: mustParse("3")})
	b.conflictOf("pod-a", end)
	if news, _ := b.conflictOf("pod-a", end.Add(conflictGrace)); news != "CPU 3 with VM vms/third" {
		t.Errorf("told %q of a third one", news)
	}
}

// The kubelet swaps what two VMs have, and the libvirt of one hangs: what it was seen on before is another's by now.
func TestSwappedGrantsAreNoConflict(t *testing.T) {
	b := newBook()
	b.put("pod-a", entry{vm: vmNamed("first"), held: mustParse("2-3")})
	b.put("pod-b", entry{vm: vmNamed("second"), held: mustParse("4-5")})
	b.regrant(map[types.UID]cpuset.Set{"pod-a": mustParse("4-5"), "pod-b": mustParse("2-3"), "unknown": mustParse("2")})
	b.put("pod-a", entry{vm: vmNamed("first"), held: mustParse("4-5")})
	if news, pending := b.conflictOf("pod-a", noon); news != "" || pending {
		t.Errorf("a conflict: %q, pending %t", news, pending)
	}
}
