// SPDX-License-Identifier: Apache-2.0

package term

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	testclock "k8s.io/utils/clock/testing"
)

var errAway = errors.New("the API server is away")

// lease is what the API server has, and each call to it takes some time.
type lease struct {
	resourcelock.Interface
	clock  *testclock.FakeClock
	takes  time.Duration
	err    error
	holder string
}

func (l *lease) Identity() string { return "a" }

func (l *lease) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return &resourcelock.LeaderElectionRecord{HolderIdentity: l.holder}, nil, l.err
}

func (l *lease) Create(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.store(record)
}

func (l *lease) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.store(record)
}

func (l *lease) store(record resourcelock.LeaderElectionRecord) error {
	l.clock.Step(l.takes)
	if l.err == nil {
		l.holder = record.HolderIdentity
	}
	return l.err
}

// scene is a process with the default times of kube-scheduler: a Lease lasts 15 s, and is renewed within 10.
type scene struct {
	*Term
	clock  *testclock.FakeClock
	lease  *lease
	config leaderelection.LeaderElectionConfig
}

func newScene() *scene {
	clock := testclock.NewFakeClock(time.Unix(1000, 0))
	s := &scene{Term: New(clock), clock: clock, lease: &lease{clock: clock}}
	s.config = leaderelection.LeaderElectionConfig{Lock: s.lease, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second}
	s.Watch(&s.config)
	return s
}

// update calls the Lease as an elector does. The error is the elector's.
func (s *scene) update(t *testing.T, holder string) {
	t.Helper()
	if err := s.config.Lock.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: holder}); !errors.Is(err, s.lease.err) {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(t *testing.T, s *scene)
		leads   bool
		says    string // "" where a pod may be bound
	}{
		"it never had the Lease": {func(*testing.T, *scene) {}, false, "another scheduler leads, and this one ends within 10s"},
		"it takes the Lease":     {func(t *testing.T, s *scene) { s.update(t, "a") }, true, ""},
		"it makes the Lease": {func(t *testing.T, s *scene) {
			if err := s.config.Lock.Create(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "a"}); err != nil {
				t.Fatal(err)
			}
		}, true, ""},
		"it could not take it": {func(t *testing.T, s *scene) {
			s.lease.err = errAway
			s.update(t, "a")
		}, false, "another scheduler leads"},
		"renewed a while ago": {func(t *testing.T, s *scene) {
			s.update(t, "a")
			s.clock.Step(9900 * time.Millisecond)
		}, true, ""},
		"it did not run for longer": {func(t *testing.T, s *scene) {
			s.update(t, "a")
			s.clock.Step(17 * time.Second)
		}, true, "this scheduler has not renewed its Lease for 17s, of the 15s that it lasts: another one may lead; it renews it or ends within 10s"},
		"it did not run, and renews": {func(t *testing.T, s *scene) {
			s.update(t, "a")
			s.clock.Step(17 * time.Second)
			s.update(t, "a")
		}, true, ""},
		"it did not run, and cannot renew": {func(t *testing.T, s *scene) {
			s.update(t, "a")
			s.clock.Step(11 * time.Second)
			s.lease.err = errAway
			s.update(t, "a")
		}, true, "not renewed its Lease for 11s"},
		"the answer took long: the others count from when they see it, not from the answer": {func(t *testing.T, s *scene) {
			s.lease.takes = 10 * time.Second
			s.update(t, "a")
		}, true, "not renewed its Lease for 10s"},
		"another one has it": {func(t *testing.T, s *scene) {
			s.update(t, "a")
			s.lease.holder = "b"
			if _, _, err := s.config.Lock.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, false, "another scheduler leads"},
		"it looks at its own": {func(t *testing.T, s *scene) {
			s.update(t, "a")
			if _, _, err := s.config.Lock.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, true, ""},
		"it could not look": {func(t *testing.T, s *scene) {
			s.update(t, "a")
			s.lease.err = errAway
			if _, _, err := s.config.Lock.Get(t.Context()); !errors.Is(err, errAway) {
				t.Fatal(err)
			}
		}, true, ""},
		"it gives it back, heard or not": {func(t *testing.T, s *scene) {
			s.update(t, "a")
			s.lease.err = errAway
			s.update(t, "")
		}, false, "another scheduler leads"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			test.happens(t, s)
			if got := s.Leads(); got != test.leads {
				t.Errorf("leads: %t", got)
			}
			err := s.Check()
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("it says %v, want %q", err, test.says)
			}
		})
	}
}

func TestWithoutAnElection(t *testing.T) {
	var none *Term
	alone := New(testclock.NewFakeClock(time.Unix(1000, 0)))
	if alone.Leads() {
		t.Error("it leads before it is known whether there is an election")
	}
	alone.Alone()
	for name, term := range map[string]*Term{"none": none, "alone": alone} {
		if err := term.Check(); err != nil || !term.Leads() {
			t.Errorf("%s: leads %t, %v", name, term.Leads(), err)
		}
	}
}

// A machine that slept has a monotonic clock that stood still.
func TestElapsed(t *testing.T) {
	start := time.Now()
	slept := start.Add(time.Second).Round(0).Add(time.Minute)
	if got := elapsed(start, slept); got != time.Minute+time.Second {
		t.Errorf("after a minute of sleep: %s", got)
	}
}
