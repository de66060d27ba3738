// SPDX-License-Identifier: Apache-2.0

// Command benchagent measures the agent: how long it takes from the kubelet's write to the report at the API
// server, what it costs the API server, and what it costs the node while nothing happens.
//
// The agent is the shipped binary with the shipped configuration and rights, on a node of 256 CPUs with 250
// pods and 2,000 devices with NUMA nodes. The API server and etcd are real. The kubelet is its state packages alone, the code
// that writes cpu_manager_state and kubelet_internal_checkpoint, and a socket that lists the devices; it cannot be
// asked for its configuration, so the agent also pays for trying. 50 of the pods are VMs whose guests run, in
// libvirt's test driver, and are looked at as shipped. Times are of this machine, with
// everything on it; memory and CPU are of the agent's process only, read from /proc.
//
// It ends with an error where a limit is not kept, so it is a check as well.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"os/signal"

	"k8s.io/klog/v2"

	"corepin.dev/corepin/test/harness/testbed"
)

// What the agent has to keep.
const (
	maxLatency  = time.Second // p99
	maxResident = 50 << 20    // bytes
	maxIdleCPU  = 0.002       // of one core
)

// calm is how long guests that are new are looked at more often, until it is once a minute (package pinning).
const calm = time.Minute

type options struct {
	bin    string
	rounds int
	idle   time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "the directory of the binaries")
	flag.IntVar(&o.rounds, "rounds", 300, "how many times a pod starts or ends")
	flag.DurationVar(&o.idle, "idle", 3*time.Minute, "how long to watch the agent do nothing")
	flag.Parse()
	klog.SetOutput(io.Discard) // the kubelet's packages say every write
	klog.LogToStderr(false)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // stop has nothing to do at the end of the process
	}
}

func measure(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "corepin-bench-agent-")
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	bed, err := testbed.Start(ctx, testbed.Options{Dir: dir, Bin: bin})
	if err != nil {
		return fmt.Errorf("%w\nlogs are kept in %s", err, dir)
	}
	defer func() {
		if err = errors.Join(err, bed.Stop()); err == nil {
			err = os.RemoveAll(dir)
		}
	}()
	n, err := newNode(ctx, bed, dir)
	defer func() { err = errors.Join(err, n.stop()) }()
	if err != nil {
		return err
	}
	fmt.Printf("node: %d CPUs, %d devices with NUMA nodes and %d without, %d pods, %d of them with exclusive CPUs and devices, of which %d are VMs whose guests run\n",
		cpus, vfCount, len(plain)*plainCount, pods, exclusivePods, guests)
	return errors.Join(latency(ctx, n, o.rounds), idle(ctx, n, o.idle))
}

// latency starts and ends pods, one after the other, and waits for each to be seen.
func latency(ctx context.Context, n *node, rounds int) error {
	watch, err := n.watchReport(ctx)
	if err != nil {
		return err
	}
	defer watch.Stop()
	before, err := n.writes(ctx)
	if err != nil {
		return err
	}
	took, writing := make([]time.Duration, 0, rounds), make([]time.Duration, 0, rounds)
	for round := range rounds {
		start := time.Now()
		if err := n.toggle(round); err != nil {
			return err
		}
		writing = append(writing, time.Since(start))
		if err := n.awaitSeen(ctx, watch, round); err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	after, err := n.writes(ctx)
	if err != nil {
		return err
	}
	p50, p99 := quantile(took, 0.5), quantile(took, 0.99)
	fmt.Printf("checkpoint write to NodeCPU visible: p50 %s, p99 %s, max %s (%d pod starts and ends)\n",
		p50.Round(time.Millisecond), p99.Round(time.Millisecond), quantile(took, 1).Round(time.Millisecond), rounds)
	fmt.Printf("  of that, the kubelet's own three writes to disk: p50 %s, p99 %s\n",
		quantile(writing, 0.5).Round(time.Millisecond), quantile(writing, 0.99).Round(time.Millisecond))
	fmt.Printf("writes of the report at the API server: %d, %.2f for each pod start or end\n", after-before, float64(after-before)/float64(rounds))
	if p99 > maxLatency {
		return fmt.Errorf("p99 is %s, the limit %s", p99, maxLatency)
	}
	return nil
}

func idle(ctx context.Context, n *node, period time.Duration) error {
	// This agent has no pod. The scheduler says so in the report, once, and that is no write of the agent's.
	if err := n.awaitUnheard(ctx); err != nil {
		return err
	}
	before, err := n.writes(ctx)
	if err != nil {
		return err
	}
	calming, err := n.watchProcess(ctx, calm)
	if err != nil {
		return err
	}
	used, err := n.watchProcess(ctx, period)
	if err != nil {
		return err
	}
	after, err := n.writes(ctx)
	if err != nil {
		return err
	}
	used.resident = max(used.resident, calming.resident)
	fmt.Printf("after the last start for %s: %.3f %% of one core; then idle for %s: %.3f %%; at most %.1f MiB resident, %d writes at the API server\n",
		calm, 100*calming.cpu, period, 100*used.cpu, float64(used.resident)/(1<<20), after-before)
	var errs []error
	if used.cpu > maxIdleCPU {
		errs = append(errs, fmt.Errorf("idle CPU is %.3f %%, the limit %.3f %%", 100*used.cpu, 100*maxIdleCPU))
	}
	if used.resident > maxResident {
		errs = append(errs, fmt.Errorf("resident are %d bytes, the limit %d", used.resident, maxResident))
	}
	if after != before {
		errs = append(errs, fmt.Errorf("%d idle writes, the limit 0", after-before))
	}
	return errors.Join(errs...)
}
