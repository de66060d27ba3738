// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"
)

const fold = 20 * time.Millisecond

// start runs a loop whose steps end as results say, and gives the time of each change dealt with.
func start(t *testing.T, results ...error) (*Loop, <-chan time.Time) {
	l := New("test", fold, clock.RealClock{})
	ctx, cancel := context.WithCancel(t.Context())
	steps, done := make(chan time.Time, 10), make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx, func(ctx context.Context, changed time.Time) error {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("a step without a deadline")
			}
			steps <- changed
			if len(results) == 0 {
				return nil
			}
			err := results[0]
			results = results[1:]
			return err
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return l, steps
}

func next(t *testing.T, steps <-chan time.Time) time.Time {
	t.Helper()
	select {
	case changed := <-steps:
		return changed
	case <-time.After(10 * time.Second):
		t.Fatal("no step in 10 seconds")
		return time.Time{}
	}
}

func quiet(t *testing.T, steps <-chan time.Time) {
	t.Helper()
	select {
	case <-steps:
		t.Error("a step that nothing asked for")
	case <-time.After(5 * fold):
	}
}

func TestBurstIsOneStep(t *testing.T) {
	l, steps := start(t)
	quiet(t, steps)
	for range 5 {
		l.Trigger()
	}
	next(t, steps)
	quiet(t, steps)
	l.Trigger()
	next(t, steps)
}

func TestFailureIsTriedAgain(t *testing.T) {
	failed := errors.New("failed")
	l, steps := start(t, failed, failed)
	l.Trigger()
	first := next(t, steps)
	if second, third := next(t, steps), next(t, steps); second != first || third != first {
		t.Errorf("the change came at %s, but later steps were told %s and %s", first, second, third)
	}
	quiet(t, steps)
}

// A change that no step could cover makes the loop fall behind, and one that was covered does not.
func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New("test", fold, clock.RealClock{})
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error)
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.Run(ctx, func(context.Context, time.Time) error { return <-results })
		}()
		expect := func(when string, want time.Duration) {
			t.Helper()
			synctest.Wait()
			if got := l.Behind(); got != want {
				t.Errorf("%s: behind by %s, want %s", when, got, want)
			}
		}
		expect("nothing has changed", 0)
		l.Trigger()
		<-time.After(time.Second)
		expect("a step hangs", time.Second)
		l.Trigger()
		results <- errors.New("failed")
		expect("it fails", time.Second)
		results <- errors.New("failed again") // the step for the change that came meanwhile
		results <- nil
		expect("it succeeds", 0)
		cancel()
		<-done
	})
}
