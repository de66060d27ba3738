// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/testbed"
)

// patience is how long the VMs around a failover may take.
const patience = 20 * time.Minute

// measureFailover measures how long no VM is bound after the scheduler that leads was killed and VMs come: with a replica that
// waits for the Lease, and with a scheduler that is started then. The Lease has the shipped times.
func measureFailover(ctx context.Context, o *options) error {
	var b strings.Builder
	fmt.Fprintf(&b, "bench-scale -failover, %s, %s, load %s; SIGKILL to the leader when half of the VMs are bound, and the others come; times of the Lease as shipped\n", time.Now().Format("2006-01-02"), host(), load())
	b.WriteString("lease, bind: s from the kill until another holds the Lease, and until the next VM is bound; CPU s, RSS, peak (MB): the successor's\n")
	b.WriteString("before: VMs that were bound when it was killed\n")
	fmt.Fprintf(&b, "%6s %-14s %6s %7s %7s %7s %7s %7s %7s %8s %8s\n", "nodes", "successor", "VMs", "before", "lease", "bind", "CPU s", "RSS", "peak", "unbound", "refused")
	for _, nodes := range o.nodes {
		s := &storm{squall: &o.squall, plugin: true, nodes: nodes, fates: newFates()}
		err := s.run(ctx, testbed.Options{Bin: o.bin, ShippedLease: true}, func(context.Context) (pid, error) {
			return pid(s.bed.Scheduler.PID()), nil
		}, func(ctx context.Context) error { return s.failOver(ctx, &b) })
		if err != nil {
			return fmt.Errorf("measuring a failover with %d nodes: %w", nodes, err)
		}
	}
	return o.write("failover.txt", b.String())
}

// failOver kills the leader twice, each time with half of the VMs.
func (s *storm) failOver(ctx context.Context, b *strings.Builder) error {
	standby, err := s.bed.RunScheduler(ctx, "standby", nil)
	if err != nil {
		return err
	}
	if err := pid(standby.PID()).awaitQuiet(ctx); err != nil {
		return err
	}
	half := s.count() / 2
	waits := func() (*process.Process, error) { return standby, nil }
	if err := s.lose(ctx, b, "waits", s.bed.Scheduler, waits, 0, half); err != nil {
		return err
	}
	starts := func() (*process.Process, error) { return standby, standby.Restart() }
	return s.lose(ctx, b, "starts afresh", standby, starts, half, s.count())
}

// lose kills the leader when half of the VMs from one number to another are bound, makes the others, and waits until all are
// bound. A scheduler is quick: had all come before the kill, it could have bound them all.
func (s *storm) lose(ctx context.Context, b *strings.Builder, name string, leader *process.Process, successor func() (*process.Process, error), from, to int) error {
	middle := from + (to-from)/2
	if err := eachOf(middle-from, func(i int) error { return s.make(ctx, from+i) }); err != nil {
		return err
	}
	if _, err := s.awaitBound(ctx, middle); err != nil {
		return err
	}
	holder, err := s.holder(ctx)
	if err != nil {
		return err
	}
	if err := leader.Kill(); err != nil {
		return err
	}
	killed := time.Now()
	made := make(chan error, 1)
	go func() { made <- eachOf(to-middle, func(i int) error { return s.make(ctx, middle+i) }) }()
	next, err := successor()
	if err != nil {
		return err
	}
	base := usage{}
	if next != leader {
		if base, err = pid(next.PID()).usage(); err != nil {
			return err
		}
	}
	leads, err := s.awaitHolder(ctx, holder, killed)
	if err != nil {
		return err
	}
	if err := <-made; err != nil {
		return err
	}
	bound, err := s.awaitBound(ctx, to)
	if err != nil {
		return err
	}
	used, err := pid(next.PID()).usage()
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "%6d %-14s %6d %7d %7.1f %7.1f %7.1f %7.0f %7.0f %8d %8d\n", s.nodes, name, to-from, middle-from,
		leads.Seconds(), s.fates.firstBound(killed).Sub(killed).Seconds(), used.cpu-base.cpu, used.rss, used.peak, to-bound, s.refused.Load())
	return nil
}

// awaitBound waits until so many VMs are bound, and gives how many are.
func (s *storm) awaitBound(ctx context.Context, n int) (bound int, err error) {
	err = await.For(ctx, fmt.Sprintf("%d VMs to be bound", n), patience, func(context.Context) error {
		if err := s.failure.Load(); err != nil {
			return await.Stop(*err)
		}
		if _, bound, _ = s.fates.count(); bound < n {
			return fmt.Errorf("%d are", bound)
		}
		return nil
	})
	return bound, err
}

// holder names the scheduler that has the Lease.
func (s *storm) holder(ctx context.Context) (string, error) {
	lease, err := s.bed.Client().CoordinationV1().Leases(testbed.SystemNamespace).Get(ctx, "corepin-scheduler", metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading the Lease: %w", err)
	}
	if lease.Spec.HolderIdentity == nil {
		return "", errors.New("nobody holds the Lease")
	}
	return *lease.Spec.HolderIdentity, nil
}

// awaitHolder waits until another one has the Lease, and gives how long that took.
func (s *storm) awaitHolder(ctx context.Context, former string, since time.Time) (time.Duration, error) {
	err := await.For(ctx, "another scheduler to lead", patience, func(ctx context.Context) error {
		holder, err := s.holder(ctx)
		if err != nil {
			return err
		}
		if holder == former {
			return fmt.Errorf("%s holds the Lease", holder)
		}
		return nil
	})
	return time.Since(since), err
}
