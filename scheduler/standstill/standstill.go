// SPDX-License-Identifier: Apache-2.0

// Package standstill ends the scheduler when something that it waits for does not end.
//
// kube-scheduler schedules in one goroutine. A call in it that never returns stops every pod, and nobody notices: the
// Lease is renewed by another goroutine, and /livez has no check of its own (newEndpointsHandler in
// cmd/kube-scheduler/app/server.go, v1.36.3). So no other replica takes over.
//
// Calls takes note of each call that may be long. Run looks at them every few seconds. When one has not ended within a
// limit, Run logs which, with the stacks of all goroutines, and ends the process. That is the one thing that no lock can
// prevent. The kubelet then starts the container again, and another replica takes the Lease when it expires, within 15 s
// with the shipped configuration.
//
// Nothing in the plugin is meant to come near the limit. The searches of the kubelet's algorithms have a budget of steps,
// and a cycle has one of time (package nodes).
package standstill

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Limit is how long a call may take. It is a thousand times what the longest is meant to take.
const Limit = time.Minute

// Calls are calls that have begun and not ended. All methods may be called from any goroutine.
type Calls struct {
	clock clock.WithTicker

	mu    sync.Mutex
	last  int
	calls map[int]call
}

type call struct {
	what, about string
	began       time.Time
}

// New gives Calls with none in them.
func New(clock clock.WithTicker) *Calls { return &Calls{clock: clock, calls: map[int]call{}} }

// Begin takes note of a call. what names it and about its object. The number is for End.
func (c *Calls) Begin(what, about string) (number int) {
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.calls[c.last] = call{what, about, now}
	return c.last
}

// End takes note of the end of a call.
func (c *Calls) End(number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, number)
}

// stuck describes the oldest call that has taken longer than a limit; "" where there is none.
func (c *Calls) stuck(limit time.Duration) string {
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	var oldest call
	for _, open := range c.calls {
		if now.Sub(open.began) > limit && (oldest.began.IsZero() || open.began.Before(oldest.began)) {
			oldest = open
		}
	}
	if oldest.began.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s %s has not ended for %s", oldest.what, oldest.about, now.Sub(oldest.began).Round(time.Second))
}

// Run watches the calls until ctx ends, or ends the process with code 1.
func (c *Calls) Run(ctx context.Context, limit time.Duration) {
	stuck := c.watch(ctx, limit)
	if stuck == "" {
		return
	}
	const most = 1 << 20
	stacks := make([]byte, most)
	stacks = stacks[:runtime.Stack(stacks, true)]
	// klog's own lock may be held by whoever stands still.
	fmt.Fprintf(os.Stderr, "corepin-scheduler stands still: %s. It ends, so that another replica can lead. All goroutines:\n%s\n", stuck, stacks)
	os.Exit(1)
}

// watch returns what stands still; "" when ctx has ended.
func (c *Calls) watch(ctx context.Context, limit time.Duration) string {
	ticker := c.clock.NewTicker(limit / 10)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-ticker.C():
		}
		if stuck := c.stuck(limit); stuck != "" {
			return stuck
		}
	}
}
