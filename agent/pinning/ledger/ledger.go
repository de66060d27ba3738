// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/cpuset"
)

// State is the state of a guest at the last look. It is a label of a metric, so the set is closed.
type State string

const (
	Waiting      State = "waiting" // its guest does not run yet, or its grant is not known
	Pinned       State = "pinned"
	Drifted      State = "drifted"       // its threads, or its container, are not on the granted CPUs
	Failing      State = "failing"       // it cannot be read or cannot be pinned
	NotExclusive State = "not_exclusive" // it asked for dedicated CPUs and got none
)

var states = []State{Waiting, Pinned, Drifted, Failing, NotExclusive}

// Entry is what the last look at one guest found.
type Entry struct {
	VM    types.NamespacedName
	State State
	// Pins is where the threads are, in the form of the report.
	Pins string
	// Waits is which vCPUs wait for a CPU, in the form of the report; "" where none does for long.
	Waits string
	// Drift says which threads are elsewhere; "" where none is.
	Drift string
	// Held are the CPUs that must be this VM's alone: those granted to it, and those that its vCPUs may run on.
	Held cpuset.Set
}

// Pauses between two changes of what the report shows of one guest.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// repairs is the key of the last repaired drift in the backoff. No pod has it for its UID.
const repairs = "repairs"

// Ledger is safe for use by many goroutines.
type Ledger struct {
	mu sync.Mutex
	// guests has the open entries, by pod.
	guests map[types.UID]*Guest
	// lastDrift is the last drift that was repaired, and shownDrift the one in the report.
	lastDrift  string
	shownDrift string
	// changes spaces out the changes of what the report shows: per pod, and for repairs.
	changes *flowcontrol.Backoff
	// complete reports whether all pods of the node are known. ready reports whether each was looked at since.
	complete bool
	ready    bool
}

// Guest is the entry of one pod's guest.
type Guest struct {
	ledger *Ledger
	pod    types.UID
	// seen reports whether there was a look.
	seen      bool
	entry     Entry
	conflicts map[types.UID]*Conflict // by the other pod
	shown     *shown                  // nil before the report shows anything of it
	// wake is called when a look at another guest finds that it shares CPUs with this one, or does so no longer. It may be nil.
	wake func()
}

// New gives a Ledger without entries.
func New(clock clock.Clock) *Ledger {
	registerMetrics()
	changes := flowcontrol.NewBackOff(firstPause, longestPause)
	changes.Clock = clock
	return &Ledger{guests: map[types.UID]*Guest{}, changes: changes}
}

// Open gives a new entry for a pod that will be looked at. It takes the place of an earlier entry of the pod.
func (l *Ledger) Open(pod types.UID, vm types.NamespacedName) *Guest {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := &Guest{ledger: l, pod: pod, entry: Entry{VM: vm}}
	l.guests[pod] = g
	l.count()
	return g
}

// OnConflict sets what is called when a look at another guest begins or ends a conflict with this one, which is then to be looked
// at. It must not block, nor use the Ledger.
func (g *Guest) OnConflict(wake func()) {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	g.wake = wake
}

// Close removes the entry, unless another has taken its place.
func (g *Guest) Close() {
	l := g.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guests[g.pod] != g {
		return
	}
	delete(l.guests, g.pod)
	l.changes.DeleteEntry(string(g.pod))
	l.noteReady()
	l.count()
}

// Update is what a look's result has changed.
type Update struct {
	// Conflicts are those to be told now.
	Conflicts []Conflict
	// Shown reports whether the report shows something new.
	Shown bool
	// Again is when the next look is due for the ledger's own sake: a conflict that has not lasted long enough, or a
	// change that the report does not show yet. It is 0 where there is neither.
	Again time.Duration
}

// Put takes the result of a look. It does nothing for an entry that another has replaced.
func (g *Guest) Put(e Entry) Update {
	l := g.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guests[g.pod] != g {
		return Update{}
	}
	now := l.changes.Clock.Now()
	g.entry = e
	g.seen = true
	l.noteReady()
	var u Update
	u.Conflicts, u.Again = g.compare(now)
	shown, held := g.show(now)
	u.Shown = shown
	u.Again = sooner(u.Again, held)
	l.count()
	return u
}

// sooner gives the shorter of two waits, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// Regrant takes the grants that have changed, by pod, all at once. Until its next look, a VM holds its new grant and no
// longer the CPUs that it was seen on. Otherwise a VM whose libvirt hangs would seem to share CPUs that are another's
// by now.
func (l *Ledger) Regrant(changed map[types.UID]cpuset.Set) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pod, granted := range changed {
		g := l.guests[pod]
		if g != nil {
			g.entry.Held = granted
		}
	}
}

// AllKnown takes note that every pod of the node has its entry. It reports whether that made the ledger ready.
func (l *Ledger) AllKnown() (nowReady bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.ready
	l.complete = true
	l.noteReady()
	return l.ready && !before
}

// Repaired takes note of a drift that was repaired.
func (l *Ledger) Repaired(vm types.NamespacedName, drift string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastDrift = "VM " + vm.String() + ": " + drift
}

// noteReady is called with the lock held.
func (l *Ledger) noteReady() {
	if !l.complete || l.ready {
		return
	}
	for _, g := range l.guests {
		if !g.seen {
			return
		}
	}
	l.ready = true
}
