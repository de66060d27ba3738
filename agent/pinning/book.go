package pinning

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

// state is how a guest stood at the last look. It is a label of a metric, so the set is closed.
type state string

const (
	stateWaiting      state = "waiting" // for its guest to run, or for its grant to be known
	statePinned       state = "pinned"
	stateDrifted      state = "drifted"       // its threads, or its container, are not on the granted CPUs
	stateFailing      state = "failing"       // it cannot be looked at, or not be pinned
	stateNotExclusive state = "not_exclusive" // it asked dedicated CPUs and got none
)

var states = []state{stateWaiting, statePinned, stateDrifted, stateFailing, stateNotExclusive}

// conflictGrace is how long two VMs must have been on one CPU before it is told: while the kubelet's grants
// change, the one VM may be looked at before the other.
const conflictGrace = time.Second

// entry is what the last look at one guest found.
type entry struct {
	vm    types.NamespacedName
	state state
	// pins is where the threads are, as placement.Pins.Text gives it.
	pins string
	// drift says which threads are elsewhere, "" where none is.
	drift string
	// held are the CPUs that must be this VM's alone: those granted to it, and those that its vCPUs are
	// on.
	held cpuset.Set
}

// conflict is CPUs that a VM has in common with others.
type conflict struct {
	text  string
	since time.Time
	told  bool
}

// book is what all workers know together. It is safe for use by many goroutines.
type book struct {
	mu        sync.Mutex
	entries   map[types.UID]entry // by pod
	conflicts map[types.UID]*conflict
	lastDrift string // that was repaired
	told      bool   // whether Changed was called for lastDrift
	// unseen are the pods that no look has been made at yet; complete tells that all pods are known, and ready
	// that all of them have been looked at once.
	unseen          map[types.UID]bool
	complete, ready bool
}

func newBook() *book {
	return &book{entries: map[types.UID]entry{}, conflicts: map[types.UID]*conflict{}, unseen: map[types.UID]bool{}}
}

// put notes a look at the guest of a pod, and tells whether anything that is reported is now otherwise.
func (b *book) put(pod types.UID, e entry) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, known := b.entries[pod]
	repaired := !b.told
	b.told = true
	b.entries[pod] = e
	b.seen(pod)
	b.count()
	return repaired || !known || was.state != e.state || was.pins != e.pins || was.drift != e.drift
}

// drop forgets a pod.
func (b *book) drop(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.entries, pod)
	delete(b.conflicts, pod)
	b.seen(pod)
	b.count()
}

// expect notes a pod that will be looked at.
func (b *book) expect(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unseen[pod] = true
}

// seen notes that a pod was looked at. It is called with the lock held.
func (b *book) seen(pod types.UID) {
	if delete(b.unseen, pod); len(b.unseen) == 0 && b.complete {
		b.ready = true
	}
}

// all notes that all pods of the node are known, and tells whether that made the book ready.
func (b *book) all() (ready bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.ready
	b.complete = true
	b.ready = b.ready || len(b.unseen) == 0
	return b.ready && !was
}

// repaired notes a drift that was mended.
func (b *book) repaired(vm types.NamespacedName, drift string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := "VM " + vm.String() + ": " + drift
	b.told = b.told && b.lastDrift == text
	b.lastDrift = text
}

// conflictOf tells which other VMs are on CPUs of this pod's: news is the text to tell now, once for each
// conflict; pending is true while there is one that has not lasted long enough to be told; over is true once
// where there is none any more.
func (b *book) conflictOf(pod types.UID, now time.Time) (news string, pending, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.count()
	text, c := b.overlaps(pod), b.conflicts[pod]
	if text == "" {
		delete(b.conflicts, pod)
		return "", false, c != nil && c.told
	}
	if c == nil || c.text != text {
		c = &conflict{text: text, since: now}
		b.conflicts[pod] = c
	}
	if c.told {
		return "", false, false
	}
	if now.Sub(c.since) < conflictGrace {
		return "", true, false
	}
	c.told = true
	return text, false, false
}

// overlaps names the VMs that hold CPUs of this pod's.
func (b *book) overlaps(pod types.UID) string {
	mine := b.entries[pod]
	if mine.held.IsEmpty() {
		return ""
	}
	var texts []string
	for _, other := range slices.Sorted(maps.Keys(b.entries)) {
		e := b.entries[other]
		if shared := e.held.Intersect(mine.held); other != pod && !shared.IsEmpty() {
			texts = append(texts, fmt.Sprintf("CPU %s with VM %s", shared, e.vm))
		}
	}
	return strings.Join(texts, ", ")
}

// count sets the gauges.
func (b *book) count() {
	number := map[state]int{}
	for _, e := range b.entries {
		number[e.state]++
	}
	for _, s := range states {
		guests.WithLabelValues(string(s)).Set(float64(number[s]))
	}
	told := 0
	for _, c := range b.conflicts {
		if c.told {
			told++
		}
	}
	conflicting.Set(float64(told))
}

// pins gives the pins of every guest that has any, by pod; nil before the book is ready.
func (b *book) pins() map[types.UID]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ready {
		return nil
	}
	all := map[types.UID]string{}
	for pod, e := range b.entries {
		if e.pins != "" {
			all[pod] = e.pins
		}
	}
	return all
}

// condition is condition Drifted of the node, nil before the book is ready.
func (b *book) condition() *metav1.Condition {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ready {
		return nil
	}
	c := &metav1.Condition{
		Type: v1alpha1.ConditionDrifted, Status: metav1.ConditionFalse, Reason: ReasonInPlace,
		Message: "the threads of every dedicated VM that was pinned are where they were pinned",
	}
	if b.lastDrift != "" {
		c.Reason, c.Message = ReasonRepaired, shorten("the last drift is repaired: "+b.lastDrift)
	}
	var texts []string
	for _, pod := range slices.Sorted(maps.Keys(b.entries)) {
		e := b.entries[pod]
		if e.drift != "" {
			texts = append(texts, "VM "+e.vm.String()+": "+e.drift)
			c.Reason = ReasonMisplaced
		}
	}
	for _, pod := range slices.Sorted(maps.Keys(b.conflicts)) {
		if conflict := b.conflicts[pod]; conflict.told {
			texts = append(texts, "VM "+b.entries[pod].vm.String()+" shares "+conflict.text)
			c.Reason = ReasonConflict
		}
	}
	if len(texts) > 0 {
		c.Status, c.Message = metav1.ConditionTrue, shorten(strings.Join(texts, "; "))
	}
	return c
}

// Reasons of condition Drifted.
const (
	ReasonInPlace   = "InPlace"
	ReasonRepaired  = "Repaired"
	ReasonMisplaced = "Misplaced"
	ReasonConflict  = "CPUConflict"
)
