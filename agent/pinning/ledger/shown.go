// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// Reasons of condition Drifted.
const (
	ReasonInPlace   = "InPlace"
	ReasonRepaired  = "Repaired"
	ReasonMisplaced = "Misplaced"
	ReasonConflict  = "CPUConflict"
)

// shown is what the report shows of a guest.
type shown struct{ pins, waits, drift, shares string }

// show brings what the report shows of the guest up to date. It reports whether that changed anything, and for how long
// a change is held back; 0 where none is. It is called with the lock held.
func (g *Guest) show(now time.Time) (changed bool, held time.Duration) {
	l := g.ledger
	if l.shownDrift != l.lastDrift {
		held = l.hold(repairs, now)
		if held == 0 {
			l.shownDrift = l.lastDrift
			changed = true
		}
	}
	want := shown{g.entry.Pins, g.entry.Waits, g.entry.Drift, g.shares()}
	if g.shown == nil {
		// The report may wait for just this guest.
		g.shown = &want
		return true, held
	}
	if *g.shown == want {
		return changed, held
	}
	own := l.hold(string(g.pod), now)
	if own > 0 {
		return changed, sooner(held, own)
	}
	*g.shown = want
	return true, held
}

// hold gives how long a change has to wait. It is 0 for a change that is shown now, and then makes the next ones wait.
func (l *Ledger) hold(key string, now time.Time) time.Duration {
	if l.changes.IsInBackOffSinceUpdate(key, now) {
		return l.changes.Get(key)
	}
	l.changes.Next(key, now)
	return 0
}

// Pins are the pins of every guest that has any, by pod; nil before every guest was looked at once.
func (l *Ledger) Pins() map[types.UID]string {
	return l.texts(func(s *shown) string { return s.pins })
}

// Waits are the waits of every guest that has any, by pod; nil before every guest was looked at once.
func (l *Ledger) Waits() map[types.UID]string {
	return l.texts(func(s *shown) string { return s.waits })
}

// texts gives one text of what the report shows of each guest, where there is one.
func (l *Ledger) texts(of func(*shown) string) map[types.UID]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ready {
		return nil
	}
	all := map[types.UID]string{}
	for pod, g := range l.guests {
		if g.shown != nil && of(g.shown) != "" {
			all[pod] = of(g.shown)
		}
	}
	return all
}

// Condition is condition Drifted of the node, without its time; nil before every guest was looked at once.
func (l *Ledger) Condition() *metav1.Condition {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ready {
		return nil
	}
	c := &metav1.Condition{
		Type: v1alpha1.ConditionDrifted, Status: metav1.ConditionFalse, Reason: ReasonInPlace,
		Message: "the threads of every dedicated VM that was pinned are where they were pinned",
	}
	if l.shownDrift != "" {
		c.Reason = ReasonRepaired
		c.Message = Shorten("the last drift is repaired: " + l.shownDrift)
	}
	var drifts, conflicts []string
	for _, pod := range slices.Sorted(maps.Keys(l.guests)) {
		g := l.guests[pod]
		if g.shown == nil {
			continue
		}
		if g.shown.drift != "" {
			drifts = append(drifts, "VM "+g.entry.VM.String()+": "+g.shown.drift)
		}
		if g.shown.shares != "" {
			conflicts = append(conflicts, "VM "+g.entry.VM.String()+" shares "+g.shown.shares)
		}
	}
	switch {
	case len(conflicts) > 0:
		c.Reason = ReasonConflict
	case len(drifts) > 0:
		c.Reason = ReasonMisplaced
	default:
		return c
	}
	c.Status = metav1.ConditionTrue
	c.Message = Shorten(strings.Join(append(drifts, conflicts...), "; "))
	return c
}

// maxMessage is the longest message in bytes: the events.k8s.io API accepts 1024.
const maxMessage = 1000

// Shorten cuts a message to what the API accepts. A long message ends in a list, so that its end can be missed.
func Shorten(message string) string { return ShortenTo(message, maxMessage) }

// ShortenTo cuts a message to a length in bytes, of at least 3.
func ShortenTo(message string, length int) string {
	if len(message) <= length {
		return message
	}
	end := length - len("…")
	for !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + "…"
}
