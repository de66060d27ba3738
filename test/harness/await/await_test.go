// SPDX-License-Identifier: Apache-2.0

package await

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestForReturnsOnceTheStateIsReached(t *testing.T) {
	calls := 0
	err := For(t.Context(), "the third look", time.Minute, func(context.Context) error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Fatalf("got error %v after %d looks, want none after 3", err, calls)
	}
}

func TestForTellsTheLastStateWhenTimeIsUp(t *testing.T) {
	err := For(t.Context(), "a pod", 3*Interval, func(context.Context) error { return errors.New("phase Pending") })
	if err == nil || !strings.Contains(err.Error(), "waiting for a pod: gave up after") || !strings.HasSuffix(err.Error(), "last state: phase Pending") {
		t.Fatalf("got %v, want what was waited for and the last state", err)
	}
}

func TestForKeepsTheStateSeenBeforeTheDeadlineCutAProbeOff(t *testing.T) {
	calls := 0
	err := For(t.Context(), "a pod", 3*Interval, func(ctx context.Context) error {
		if calls++; calls == 1 {
			return errors.New("phase Pending")
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if err == nil || !strings.HasSuffix(err.Error(), "last state: phase Pending") {
		t.Fatalf("got %v, want the state of the first look", err)
	}
}

func TestForEndsAtOnceOnStop(t *testing.T) {
	exited := errors.New("exited")
	calls := 0
	err := For(t.Context(), "a server", time.Minute, func(context.Context) error { calls++; return Stop(exited) })
	if !errors.Is(err, exited) || calls != 1 {
		t.Fatalf("got %v after %d looks, want the marked error after one", err, calls)
	}
}

func TestForEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	seen := errors.New("not there")
	err := For(ctx, "nothing", time.Minute, func(context.Context) error { cancel(); return seen })
	if !errors.Is(err, seen) {
		t.Fatalf("got %v, want the last state", err)
	}
}
