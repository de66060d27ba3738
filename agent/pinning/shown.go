package pinning

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Pauses between two changes of what the report says about one guest.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// shown is what the report is told of a guest.
type shown struct {
	vm                  types.NamespacedName
	pins, drift, shares string
	brake               brake
}

// brake lets through what changes now and then at once, and slows down what changes again and again: there is no pause
// after a first change, a short one after a second soon after, and twice as long a one after each further.
type brake struct {
	until time.Time
	pause time.Duration
}

// allows tells whether a change may be told now.
func (b *brake) allows(now time.Time) bool {
	if now.Before(b.until) {
		return false
	}
	if now.Sub(b.until) > longestPause {
		b.pause = 0
	} else {
		b.pause = min(max(2*b.pause, firstPause), longestPause)
	}
	b.until = now.Add(b.pause)
	return true
}

// show brings what the report is told of a guest up to what is known of it, and tells whether that is news. Every
// change is a write at the API server; so a guest whose pins somebody moves to and fro is held back, down to one
// change a minute. What is held back is shown by a later look: there is one every verify period.
func (b *book) show(pod types.UID, now time.Time) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shownDrift != b.lastDrift && b.repairs.allows(now) {
		b.shownDrift, changed = b.lastDrift, true
	}
	e, s := b.entries[pod], b.shown[pod]
	if s == nil {
		s = &shown{vm: e.vm}
		b.shown[pod], changed = s, true // also where it is the last of those that the report waits for
	}
	shares := b.conflicts[pod].text(isTold)
	if s.pins == e.pins && s.drift == e.drift && s.shares == shares || !s.brake.allows(now) {
		return changed
	}
	s.pins, s.drift, s.shares = e.pins, e.drift, shares
	return true
}
