// SPDX-License-Identifier: Apache-2.0

// Package loop runs a step whenever something has changed, and again until it succeeds.
//
// It is how the agent writes to the API server. Changes that come close together become one step. A step that fails is
// tried again after a pause that grows, with jitter: thousands of agents must not come back at once when an API server
// does. A step reads what is true when it runs. It learns that something changed, never what.
package loop

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// retries is the pause after each failure in a row.
var retries = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 9, Cap: 30 * time.Second}

// timeout bounds one step.
const timeout = 10 * time.Second

// Loop is one such loop.
type Loop struct {
	name    string
	fold    time.Duration
	clock   clock.WithTicker
	trigger chan struct{}

	mu sync.Mutex
	// waiting is when the oldest change came that no step has taken on yet, and working the same of the step that runs;
	// zero where there is none.
	waiting, working time.Time
}

// New gives a loop that waits for fold after a change, so that others come with it.
func New(name string, fold time.Duration, clock clock.WithTicker) *Loop {
	return &Loop{name: name, fold: fold, clock: clock, trigger: make(chan struct{}, 1)}
}

// Behind is for how long the oldest change waits that no step has covered yet, because steps fail or do not end; 0 where
// every change is covered.
func (l *Loop) Behind() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.working.IsZero():
		return l.clock.Since(l.working)
	case !l.waiting.IsZero():
		return l.clock.Since(l.waiting)
	}
	return 0
}

// changed notes that something has changed, unless an older change waits.
func (l *Loop) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting.IsZero() {
		l.waiting = l.clock.Now()
	}
}

// begin takes on every change so far, and gives when the oldest came.
func (l *Loop) begin() (changed time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.working = l.waiting
	if l.working.IsZero() { // its Trigger was noted after the change was covered
		l.working = l.clock.Now()
	}
	l.waiting = time.Time{}
	return l.working
}

// end notes that the step has ended. One that failed has covered nothing.
func (l *Loop) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.waiting = l.working
	}
	l.working = time.Time{}
}

// Trigger makes the step run, since something may have changed. It never blocks.
func (l *Loop) Trigger() {
	l.changed()
	select {
	case l.trigger <- struct{}{}:
	default: // a step is due already
	}
}

// Run runs step after each Trigger until ctx ends. changed is when the oldest change came that no step has covered yet.
func (l *Loop) Run(ctx context.Context, step func(ctx context.Context, changed time.Time) error) {
	backoff := retries
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-retry:
		case <-l.trigger:
			if !l.folded(ctx) {
				return
			}
		}
		retry = nil
		err := l.bounded(ctx, step)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			backoff = retries
			continue
		}
		pause := backoff.Step()
		klog.FromContext(ctx).Info("trying again later", "loop", l.name, "err", err, "pause", pause)
		retry = l.clock.After(pause)
	}
}

func (l *Loop) bounded(ctx context.Context, step func(context.Context, time.Time) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	changed := l.begin()
	defer func() { l.end(err) }()
	return step(ctx, changed)
}

// folded waits for the rest of a burst; false when ctx ends first.
func (l *Loop) folded(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-l.clock.After(l.fold):
	}
	select {
	case <-l.trigger: // the step to come sees it
	default:
	}
	return true
}
