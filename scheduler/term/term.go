// SPDX-License-Identifier: Apache-2.0

// Package term holds bindings back when another process may lead.
//
// Two schedulers that bind at the same time promise the same CPUs to two VMs, and the kubelet refuses one of them. Leader
// election does not prevent that alone. client-go ends a leader that could not renew its Lease for renewDeadline, counted
// from when it began to try (LeaderElector.renew in tools/leaderelection/leaderelection.go, v0.36.3). A process that did
// not run for longer than the Lease lasts begins to try when it runs again. A cgroup that is frozen, a machine that is
// paused and memory that is swapped out do that. Until its renewDeadline is over it schedules beside the process that leads by then.
//
// A Term knows from the calls to the Lease when it was last renewed. The others count from when they see that, which is
// later. So nobody else leads before the Lease has lasted from when the call was sent. Check fails once that is near.
//
// What is left is a binding that the API server takes long to carry out: it was sent in time, and another process may lead
// before it is stored. Check keeps the difference of Lease and renewDeadline for it, 5 s with kube-scheduler's defaults.
package term

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/clock"
)

// Term is the time in which no other process leads. A nil Term is that of a process without an election, which always leads.
// All methods may be called from any goroutine.
type Term struct {
	clock clock.PassiveClock

	mu      sync.Mutex
	state   state
	renewed time.Time // when the last call was sent that renewed the Lease
	lasts   time.Duration
	safe    time.Duration
}

type state uint8

const (
	// unknown: it has not been said whether there is an election.
	unknown state = iota
	alone
	standby
	leading
)

// New gives a Term of a process of which it is not known yet whether it takes part in an election.
func New(clock clock.PassiveClock) *Term { return &Term{clock: clock} }

// Alone is called where there is no election.
func (t *Term) Alone() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = alone
}

// Watch is called before an election begins. The Term then sees each call to the Lease.
func (t *Term) Watch(election *leaderelection.LeaderElectionConfig) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = standby
	t.lasts = election.LeaseDuration
	t.safe = election.RenewDeadline
	election.Lock = lock{Interface: election.Lock, term: t}
}

// Leads reports whether this process led when it last heard of the Lease.
func (t *Term) Leads() bool {
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state == alone || t.state == leading
}

// Check fails if another process may lead by now, or before the API server has carried out a request that is sent now.
func (t *Term) Check() error {
	if t == nil {
		return nil
	}
	now := t.clock.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.state {
	case alone, unknown: // the framework calls nobody before it is known
		return nil
	case standby:
		return fmt.Errorf("another scheduler leads, and this one ends within %s", t.safe)
	case leading:
	}
	age := elapsed(t.renewed, now)
	if age < t.safe {
		return nil
	}
	return fmt.Errorf("this scheduler has not renewed its Lease for %s, of the %s that it lasts: another one may lead; it renews it or ends within %s",
		age.Round(100*time.Millisecond), t.lasts, t.safe)
}

// elapsed is the time between two readings of a clock. A reading has two times: a machine that sleeps stops the monotonic one,
// and somebody may set the other back. The one that says more counts.
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

// lock is the Lease, as the elector calls it.
type lock struct {
	resourcelock.Interface
	term *Term
}

// Get is called by an elector that does not lead, or not by what it knows.
func (l lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err == nil && record.HolderIdentity != l.Identity() {
		l.term.ended()
	}
	return record, raw, err
}

// Create is called by the first elector of all.
func (l lock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	sent := l.term.clock.Now()
	err := l.Interface.Create(ctx, record)
	if err == nil {
		l.term.begun(sent)
	}
	return err
}

// Update is called to take the Lease, to renew it, and, without a holder, to give it back.
func (l lock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity != l.Identity() {
		l.term.ended()
		return l.Interface.Update(ctx, record)
	}
	sent := l.term.clock.Now()
	err := l.Interface.Update(ctx, record)
	if err == nil {
		l.term.begun(sent)
	}
	return err
}

func (t *Term) begun(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = leading
	t.renewed = at
}

func (t *Term) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = standby
}
