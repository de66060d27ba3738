// SPDX-License-Identifier: Apache-2.0

// Package await waits for a state that another process brings about.
//
// The whole harness waits through it. No test sleeps for a fixed time, and every wait has a deadline. A
// wait that times out prints the last state that it saw.
package await

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Interval is the time between two looks. Short against what is waited for (starts, binds, pins
// take tens of milliseconds to seconds), long against what a look costs the API server.
const Interval = 50 * time.Millisecond

// For calls probe until it returns nil. The error that probe returns is the state it saw; after
// limit, or when ctx ends first, For returns an error with what was waited for and the last state.
// probe gets a context that ends with the limit. An error wrapped by Stop ends the wait at once.
func For(ctx context.Context, what string, limit time.Duration, probe func(context.Context) error) error {
	return Every(ctx, Interval, what, limit, probe)
}

// Every is For with a longer time between two looks, where a look is dear.
func Every(ctx context.Context, interval time.Duration, what string, limit time.Duration, probe func(context.Context) error) error {
	deadline, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	var last error
	for {
		err := probe(deadline)
		if err == nil {
			return nil
		}
		var stop *stopError
		if errors.As(err, &stop) {
			return fmt.Errorf("waiting for %s: %w", what, stop.err)
		}
		// A probe that the deadline cut off saw less than the one before it.
		if last == nil || deadline.Err() == nil {
			last = err
		}
		select {
		case <-deadline.Done():
			return fmt.Errorf("waiting for %s: gave up after %s; last state: %w", what, time.Since(start).Round(time.Millisecond), last)
		case <-time.After(interval):
		}
	}
}

// Stop marks an error after which waiting longer is of no use.
func Stop(err error) error {
	return &stopError{err}
}

type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }
func (e *stopError) Unwrap() error { return e.err }
