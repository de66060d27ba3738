// SPDX-License-Identifier: Apache-2.0

// Command silence measures what the sign of life of scheduler/heard is worth, and what it costs.
//
// It starts the test bed with many small nodes and the shipped settings of everything: probes, HTTP/2 pings, silentAfter
// and the grace period of the node lifecycle controller. Each round gives every node a fault, at a random moment: its agent is
// killed, hangs or is cut off from the API server, or its kubelet ends. It measures the time until condition Seen of the
// node's report is False, mends the fault, and waits until all are heard from again.
//
// Before that, it counts for a while what passes between agents and API server while nothing happens. It is run by
// `make bench-silence`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/line"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

const (
	// spread is within what time the faults of a round begin.
	spread = 20 * time.Second
	// patience is how long a fault, or its end, may go unseen.
	patience = 5 * time.Minute
	// large is the number of nodes for which costs are given.
	large = 15_000
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() (err error) {
	bin := flag.String("bin", "bin", "folder with clusterd, corepin-scheduler and corepin-agent")
	nodes := flag.Int("nodes", 20, "number of nodes")
	rounds := flag.Int("rounds", 5, "number of faults for each node")
	idle := flag.Duration("idle", 2*time.Minute, "how long to count while nothing happens")
	seed := flag.Uint64("seed", 1, "what the moments are drawn by")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	dir, err := os.MkdirTemp("", "corepin-silence-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	w, err := start(ctx, dir, *bin, *nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.bed.Stop(), os.RemoveAll(dir)) }()
	w.count(ctx, *idle)
	source := rand.New(rand.NewPCG(*seed, 1))
	for round := range *rounds {
		if err := w.round(ctx, source, round); err != nil {
			return err
		}
	}
	w.print()
	return nil
}

// world is the test bed, and what was measured.
type world struct {
	bed   *testbed.Testbed
	names []string
	lines map[string]*line.Line

	mu   sync.Mutex
	took map[string][]time.Duration // by the kind of fault
}

func start(ctx context.Context, dir, bin string, nodes int) (*world, error) {
	// Guests and agents run as other users.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("opening the folder: %w", err)
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	w := &world{lines: map[string]*line.Line{}, took: map[string][]time.Duration{}}
	var machines []testbed.Machine
	for i := range nodes {
		name := fmt.Sprintf("node-%02d", i)
		w.names = append(w.names, name)
		w.lines[name] = &line.Line{}
		machines = append(machines, testbed.Machine{Name: name, Topology: cputopology.MustParse("1 sockets x 1 numa x 4 cores x 2 threads"),
			Guests: guest.None{}, Kubelet: simnode.KubeletSettings{CPUManagerPolicy: "static", ReservedSystemCPUs: "0,4"}})
	}
	w.bed, err = testbed.Start(ctx, testbed.Options{Dir: dir, Bin: bin, Machines: machines, Log: os.Stderr, Verbosity: 1,
		AgentRoute: func(node, kubeconfig string) (string, error) { return w.lines[node].Route(kubeconfig) }})
	if err != nil {
		return nil, err
	}
	for _, name := range w.names {
		if _, err := w.await(ctx, name, metav1.ConditionTrue); err != nil {
			return nil, errors.Join(err, w.bed.Stop())
		}
	}
	return w, nil
}

// await waits until condition Seen of a node's report has a status, and gives how long that took.
func (w *world) await(ctx context.Context, node string, want metav1.ConditionStatus) (time.Duration, error) {
	began := time.Now()
	err := await.Every(ctx, 200*time.Millisecond, node+" to be seen as it is", patience, func(ctx context.Context) error {
		report, err := w.bed.Report(ctx, node)
		if err != nil {
			return err
		}
		seen := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionSeen)
		if seen == nil || seen.Status != want {
			return fmt.Errorf("condition Seen of %s is %+v, want %s", node, seen, want)
		}
		return nil
	})
	return time.Since(began), err
}

// count prints what passes between the agents and the API server while nothing happens.
func (w *world) count(ctx context.Context, length time.Duration) {
	pause(ctx, 30*time.Second) // what the start has left to do
	before := w.bytes()
	pause(ctx, length)
	perNode := float64(w.bytes()-before) / length.Seconds() / float64(len(w.names))
	fmt.Printf("idle for %s: %.1f bytes a second for each agent, TLS and watches included; %.0f KiB a second for %d\n", length, perNode, perNode*large/1024, large)
}

func (w *world) bytes() int64 {
	sum := int64(0)
	for _, l := range w.lines {
		sum += l.Bytes()
	}
	return sum
}

// fault is a way in which a node falls silent.
type fault struct {
	name         string
	strike, mend func(node string) error
}

func (w *world) faults() []fault {
	agent := func(node string) int { return w.bed.Nodes[node].Agent.PID() }
	return []fault{
		{"agent killed", func(node string) error { return w.bed.Nodes[node].Agent.Kill() }, func(node string) error { return w.bed.Nodes[node].Agent.Restart() }},
		{"agent hung", func(node string) error { return syscall.Kill(agent(node), syscall.SIGSTOP) }, func(node string) error { return syscall.Kill(agent(node), syscall.SIGCONT) }},
		{"agent cut off", func(node string) error { w.lines[node].Cut(true); return nil }, func(node string) error { w.lines[node].Cut(false); return nil }},
		{"kubelet ended", func(node string) error { return w.bed.Nodes[node].Sim.Kill() }, func(node string) error { return w.bed.Nodes[node].Sim.Restart() }},
	}
}

// round gives each node the next kind of fault.
func (w *world) round(ctx context.Context, source *rand.Rand, round int) error {
	errs := make([]error, len(w.names))
	var all sync.WaitGroup
	for i, node := range w.names {
		f := w.faults()[(i+round)%4]
		wait := time.Duration(source.Int64N(int64(spread)))
		all.Go(func() { errs[i] = w.suffer(ctx, node, f, wait) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (w *world) suffer(ctx context.Context, node string, f fault, wait time.Duration) error {
	pause(ctx, wait)
	if err := f.strike(node); err != nil {
		return fmt.Errorf("%s, %s: %w", node, f.name, err)
	}
	took, err := w.await(ctx, node, metav1.ConditionFalse)
	if err != nil {
		return errors.Join(fmt.Errorf("%s, %s: %w", node, f.name, err), f.mend(node))
	}
	w.mu.Lock()
	w.took[f.name] = append(w.took[f.name], took)
	w.mu.Unlock()
	if err := f.mend(node); err != nil {
		return fmt.Errorf("mending %s, %s: %w", node, f.name, err)
	}
	_, err = w.await(ctx, node, metav1.ConditionTrue)
	return err
}

func (w *world) print() {
	fmt.Printf("\n%-16s %5s %8s %8s %8s\n", "fault", "times", "median", "p99", "longest")
	var all []time.Duration
	row := func(name string, took []time.Duration) {
		slices.Sort(took)
		at := func(part float64) float64 { return took[min(int(part*float64(len(took))), len(took)-1)].Seconds() }
		fmt.Printf("%-16s %5d %7.1fs %7.1fs %7.1fs\n", name, len(took), at(0.5), at(0.99), at(1))
	}
	for _, f := range w.faults() {
		if took := w.took[f.name]; len(took) > 0 {
			row(f.name, took)
			all = append(all, took...)
		}
	}
	if len(all) > 0 {
		row("all", all)
	}
}

// pause waits; less where ctx ends.
func pause(ctx context.Context, length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
