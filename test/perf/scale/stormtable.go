// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// load is how many threads of the machine run or wait, as the mean of a minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// head says what comes.
func (s *storm) head() {
	who := "stock kube-scheduler (the same binary without the plugin)"
	if s.plugin {
		who = "corepin-scheduler, with the shipped configuration"
	}
	with := "without VMI objects"
	if s.withVMIs {
		with = "with VMI objects"
	}
	fmt.Fprintf(&s.b, "bench-scale -storm, %s, %s; load %s\n", time.Now().Format("2006-01-02"), host(), load())
	fmt.Fprintf(&s.b, "%s as a process beside etcd, API server, controllers, and the stand-in for agents\n", who)
	fmt.Fprintf(&s.b, "%d launcher pods of %d kinds at once, %s, on %d nodes (%s); %d fit no node\n",
		s.count(), s.kinds, with, s.nodes, machine, s.unfitOf(s.count()))
	s.b.WriteString("s: since the first was made; told: not bound, and told why; CPU s, RSS, peak, heap (MB), goroutines, queue: the scheduler's\n\n")
	fmt.Fprintf(&s.b, "%7s %8s %8s %8s %8s %7s %7s %7s %11s %7s\n", "s", "created", "bound", "told", "CPU s", "RSS", "peak", "heap", "goroutines", "queue")
}

// sample is a line about now.
func (s *storm) sample(ctx context.Context, before usage) error {
	used, err := s.pids[0].usage()
	if err != nil {
		return err
	}
	in, err := scrape(ctx, s.metrics)
	if err != nil {
		return err
	}
	created, bound, told := s.fates.count()
	line := fmt.Sprintf("%7.1f %8d %8d %8d %8.1f %7.0f %7.0f %7.0f %11d %7d\n", time.Since(s.started).Seconds(),
		created, bound, told, used.cpu-before.cpu, used.rss, used.peak, in.heap, in.goroutines, in.pending)
	s.b.WriteString(line)
	fmt.Fprint(os.Stderr, line)
	return nil
}

// sum says what came of it.
func (s *storm) sum(before, after []usage) error {
	n := s.count()
	created, bound, told := s.fates.count()
	waits, last := s.fates.waits()
	fmt.Fprintf(&s.b, "\n%d made in %.1f s; all bound or told after %.1f s; neither: %d; load %s\n",
		created, s.took.Seconds(), last.Sub(s.started).Seconds(), created-bound-told, load())
	if len(waits) > 0 {
		at := func(percent int) float64 { return waits[(len(waits)-1)*percent/100].Seconds() }
		fmt.Fprintf(&s.b, "a VM's time until it is bound or told: median %.1f s, p99 %.1f s, longest %.1f s\n", at(50), at(99), at(100))
	}
	fmt.Fprintf(&s.b, "bound, and their kubelet would refuse them: %d\n", s.refused.Load())
	if told > 0 {
		fmt.Fprintf(&s.b, "one was told: %s\n", s.fates.reason())
	}
	fmt.Fprintf(&s.b, "CPU ms a VM: scheduler %s, API server %s, etcd %s\n", each(after[0].cpu-before[0].cpu, n), each(after[1].cpu-before[1].cpu, n), each(after[2].cpu-before[2].cpu, n))
	counts, err := s.audit.requests()
	if err != nil {
		return err
	}
	fmt.Fprintf(&s.b, "\nthe scheduler's requests, as the API server's audit log has them\n%-8s %-24s %4s %8s %8s\n%s", "verb", "resource", "code", "number", "a VM", perVM(counts, n))
	return nil
}
