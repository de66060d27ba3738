// SPDX-License-Identifier: Apache-2.0

// Package source has what the agent's loops share about reading the host. A Reading keeps the last good value while
// reading fails, with the cause and the time since when. A Bell wakes loops when something changed. Every failed read is
// counted under the name of its source.
//
// A read error never shrinks a report and never removes a label. That rests on this package: a failed read leaves the
// value alone, so that nobody can get at a value that it has emptied.
package source

import (
	"sync"
	"time"
)

// Reading is the outcome of reading one thing again and again. The zero Reading has not been read yet.
// It is a value: a copy never changes.
type Reading[T any] struct {
	// Value is the last that was read without error; the zero T before the first.
	Value T
	// Known reports whether there was such a read.
	Known bool
	// Err is why the latest read failed; nil after one that did not.
	Err error
	// Since is when reading began to fail; zero where Err is nil.
	Since time.Time
}

// Next is the Reading after one more read, at time now, that gave value and err.
func (r Reading[T]) Next(value T, err error, now time.Time) Reading[T] {
	if err == nil {
		return Reading[T]{Value: value, Known: true}
	}
	if r.Err == nil {
		r.Since = now
	}
	r.Err = err
	return r
}

// SameError reports whether both failed in the same words, or neither failed. Messages are what people
// see; two errors with the same message are no news.
func (r Reading[T]) SameError(other Reading[T]) bool {
	if r.Err == nil || other.Err == nil {
		return r.Err == nil && other.Err == nil
	}
	return r.Err.Error() == other.Err.Error()
}

// Bell wakes everyone who subscribed. Rings that come before a subscriber has woken are folded into
// one. The zero Bell is ready for use.
type Bell struct {
	mu          sync.Mutex
	subscribers []chan struct{}
}

// Subscribe gives a channel that receives after every Ring. It has no end: subscribers live as long as
// the agent.
func (b *Bell) Subscribe() <-chan struct{} {
	ch := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscribers = append(b.subscribers, ch)
	return ch
}

// Ring wakes every subscriber. It never blocks.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ch := range b.subscribers {
		select {
		case ch <- struct{}{}:
		default: // not awake yet: the ring that waits there is enough
		}
	}
}
