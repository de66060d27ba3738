package pinning

import (
	"maps"
	"slices"
	"strings"
	"sync"

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

// book is what all workers know together. It is safe for use by many goroutines.
type book struct {
	mu        sync.Mutex
	entries   map[types.UID]entry // by pod
	conflicts map[types.UID]conflict
	lastDrift string // that was repaired
	// shown is what the report is told of each guest, and shownDrift of lastDrift: see show.
	shown      map[types.UID]*shown
	shownDrift string
	repairs    brake
	// unseen are the pods that no look has been made at yet; complete tells that all pods are known, and ready
	// that all of them have been looked at once.
	unseen          map[types.UID]bool
	complete, ready bool
}

func newBook() *book {
	return &book{
		entries: map[types.UID]entry{}, conflicts: map[types.UID]conflict{}, shown: map[types.UID]*shown{}, unseen: map[types.UID]bool{},
	}
}

// put notes a look at the guest of a pod.
func (b *book) put(pod types.UID, e entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[pod] = e
	b.seen(pod)
	b.count()
}

// regrant notes grants that have changed, all at once: until its next look, of a VM counts what it has been granted now,
// and not what it was seen on before. Else one whose libvirt hangs would seem to share CPUs that are another's by now.
func (b *book) regrant(changed map[types.UID]cpuset.Set) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for pod, granted := range changed {
		if e, known := b.entries[pod]; known {
			e.held = granted
			b.entries[pod] = e
		}
	}
}

// drop forgets a pod.
func (b *book) drop(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.entries, pod)
	delete(b.conflicts, pod)
	delete(b.shown, pod)
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
	b.lastDrift = "VM " + vm.String() + ": " + drift
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
		if c.told() {
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
	for pod, s := range b.shown {
		if s.pins != "" {
			all[pod] = s.pins
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
	if b.shownDrift != "" {
		c.Reason, c.Message = ReasonRepaired, shorten("the last drift is repaired: "+b.shownDrift)
	}
	var texts []string
	pods := slices.Sorted(maps.Keys(b.shown))
	for _, pod := range pods {
		if s := b.shown[pod]; s.drift != "" {
			texts = append(texts, "VM "+s.vm.String()+": "+s.drift)
			c.Reason = ReasonMisplaced
		}
	}
	for _, pod := range pods {
		if s := b.shown[pod]; s.shares != "" {
			texts = append(texts, "VM "+s.vm.String()+" shares "+s.shares)
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
