// Package loop runs a step whenever something has changed, and again until it succeeds.
//
// It is how the agent writes to the API server. Changes that come close together become one step. A step that fails is
// tried again after a pause that grows, with jitter: thousands of agents must not come back at once when an API server
// does. A step reads what is true when it runs. It learns that something changed, never what.
package loop

import (
	"context"
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
}

// New gives a loop that waits for fold after a change, so that others come with it.
func New(name string, fold time.Duration, clock clock.WithTicker) *Loop {
	return &Loop{name: name, fold: fold, clock: clock, trigger: make(chan struct{}, 1)}
}

// Trigger makes the step run, since something may have changed. It never blocks.
func (l *Loop) Trigger() {
	select {
	case l.trigger <- struct{}{}:
	default: // a step is due already
	}
}

// Run runs step after each Trigger until ctx ends. changed is when the oldest change came that no step has covered yet.
func (l *Loop) Run(ctx context.Context, step func(ctx context.Context, changed time.Time) error) {
	backoff := retries
	var retry <-chan time.Time
	var changed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-retry:
		case <-l.trigger:
			if retry == nil {
				changed = l.clock.Now()
			}
			if !l.folded(ctx) {
				return
			}
		}
		retry = nil
		err := l.bounded(ctx, changed, step)
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

func (l *Loop) bounded(ctx context.Context, changed time.Time, step func(context.Context, time.Time) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
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
