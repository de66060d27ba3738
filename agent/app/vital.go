// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/kubelet"
)

// After these times the agent does not vouch for its report any more, and is not ready. Shorter failures are normal: a
// watch ends and is opened again, a write is tried again.
const (
	reportLate   = 20 * time.Second // a change that is not in the report
	kubeletLate  = 3 * reread       // a read of the kubelet's files that does not end, or fails where it did not before
	serverLate   = 3 * time.Second  // no watch of the report is open
	neverSuccess = "the report of this node is not published yet; the agent's log says why"
)

// vital is what the agent's readiness is made of. The pod's Ready condition is the sign of life of the report: it may be
// true only while the report is what the kubelet has. Package heard of the scheduler says how it is used.
type vital struct {
	published func() bool
	behind    func() time.Duration
	looked    func() time.Time
	kubelet   func() *kubelet.State
	line      *line
	clock     clock.PassiveClock
}

// Check says why the agent cannot vouch for its report; nil where it can.
func (v *vital) Check() error {
	now := v.clock.Now()
	checkpoint := v.kubelet().Checkpoint
	behind := v.behind()
	down := v.line.Down(now)
	switch {
	case !v.published():
		return errors.New(neverSuccess)
	case behind > reportLate:
		return fmt.Errorf("a change of %s ago is not in the report yet; the agent's log says why", behind.Round(time.Second))
	case now.Sub(v.looked()) > kubeletLate:
		return fmt.Errorf("the kubelet's files have not been read for %s", now.Sub(v.looked()).Round(time.Second))
	case checkpoint.Known && checkpoint.Err != nil && now.Sub(checkpoint.Since) > kubeletLate:
		return fmt.Errorf("reading the kubelet's state has failed for %s: %w", now.Sub(checkpoint.Since).Round(time.Second), checkpoint.Err)
	case down > serverLate:
		return fmt.Errorf("the API server has not been reached for %s", down.Round(time.Second))
	}
	return nil
}

// line knows whether the API server is reached, by the watch of the report: it costs nothing more. Where the connection
// is cut without a word, its HTTP/2 pings notice (HTTP2_READ_IDLE_TIMEOUT_SECONDS and HTTP2_PING_TIMEOUT_SECONDS of
// k8s.io/apimachinery/pkg/util/net/http.go, v0.36.3), and the watch ends.
type line struct {
	clock clock.PassiveClock

	mu   sync.Mutex
	open int       // watches
	lost time.Time // when the last one ended, or the line was made
}

func newLine(clock clock.PassiveClock) *line { return &line{clock: clock, lost: clock.Now()} }

// Down is for how long no watch has been open; 0 while one is.
func (l *line) Down(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open > 0 {
		return 0
	}
	return now.Sub(l.lost)
}

func (l *line) opened() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
}

func (l *line) ended() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	l.lost = l.clock.Now()
}

// listening is listed with watches that tell a line.
type listening[L runtime.Object] struct {
	listed[L]
	line *line
}

// Watch is called by the informer, which stops every watch that it was given.
func (l listening[L]) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := l.listed.Watch(ctx, o)
	if err != nil {
		return nil, err
	}
	l.line.opened()
	return &toldWatch{Interface: w, ended: sync.OnceFunc(l.line.ended)}, nil
}

type toldWatch struct {
	watch.Interface
	ended func()
}

// Stop is called more than once.
func (w *toldWatch) Stop() {
	w.ended()
	w.Interface.Stop()
}
