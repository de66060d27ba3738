// SPDX-License-Identifier: Apache-2.0

// Command soak runs all of corepin for a long time while everything around it breaks, and looks on from outside.
//
// It starts the test bed with four simulated nodes, two replicas of corepin-scheduler, and a proxy before the API server.
// VMs come and go all the time. At random times, by a seed, it injects the faults of faults.go. Processes are killed,
// stopped and slowed. Kubelets are killed and restarted, and the disks under them filled. Watch streams are cut, the
// network is slow, and times that others rely on are written wrongly. What would be restarted on a cluster is restarted.
//
// Invariants are looked at twice a second, with the admin's own client and in the kubelets' files (invariants.go). None
// asks corepin itself:
//
//   - no node has more CPUs bound than it has, and no checkpoint has a CPU twice;
//   - no kubelet refuses a pod that was not judged by counting, neither at first nor at its restart, unless RestartSafe
//     announced it;
//   - the label stays where the CPU manager runs;
//   - at rest, when the faults have ended, every guest is pinned, and every report says what the kubelet's checkpoint says;
//   - with all VMs gone, no process of corepin has more goroutines, descriptors or memory than at the start.
//
// A run with the same seed draws the same faults at the same times; what they meet differs. The clock of a process cannot be
// stepped without stepping the machine's. Instead, the times in Leases are written an hour off, as a holder whose clock
// is wrong would write them.
//
// With -hostile, one guest in twenty sends garbage as its libvirt, and the agent's token of one more node reports nonsense,
// labels its Node and tells events about pods of others. The invariants hold for everybody else.
//
// Two refusals at a kubelet's start are only counted, since nobody could have told of them: see starts.go.
//
// The exit code is 1 where an invariant did not hold. It takes root, libvirt and the binaries.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/klog/v2"
)

func main() {
	ok := false
	err := ownMounts()
	if err == nil {
		ok, err = soak()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	bin     string
	dir     string
	length  time.Duration
	seed    uint64
	hostile bool
	kubelet bool
}

func soak() (ok bool, err error) {
	o := options{}
	flag.StringVar(&o.bin, "bin", "bin", "folder with clusterd, corepin-scheduler and corepin-agent")
	flag.StringVar(&o.dir, "dir", "", "empty folder for everything that is written, kept afterwards; without one, a temporary one, kept where an invariant did not hold")
	flag.DurationVar(&o.length, "length", time.Hour, "how long faults are injected")
	flag.Uint64Var(&o.seed, "seed", 0, "what faults are drawn by; 0 is one that is drawn itself, and printed")
	flag.BoolVar(&o.hostile, "hostile", false, "one guest in twenty and one node are hostile")
	verbose := flag.Bool("kubelet-log", false, "print what the kubelets' packages log")
	flag.Parse()
	o.kubelet = *verbose
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := quiet(o.kubelet); err != nil {
		return false, err
	}
	keep := o.dir != ""
	if !keep {
		if o.dir, err = os.MkdirTemp("", "corepin-soak-"); err != nil {
			return false, fmt.Errorf("making a folder: %w", err)
		}
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil { // the programs start in folders of their own
		return false, fmt.Errorf("finding the programs: %w", err)
	}
	// Guests run as another user.
	if err := os.Chmod(o.dir, 0o755); err != nil {
		return false, fmt.Errorf("opening the folder: %w", err)
	}
	fmt.Printf("seed %d, %s, files in %s\n", o.seed, o.length, o.dir)
	ok, err = run(ctx, &o)
	if ok && err == nil && !keep {
		err = os.RemoveAll(o.dir)
	}
	return ok, err
}

// quiet sends the log of the kubelets' packages, which are in this process, to nowhere.
func quiet(verbose bool) error {
	if verbose {
		return nil
	}
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("silencing the kubelets: %w", err)
		}
	}
	klog.SetOutput(io.Discard)
	return nil
}

// run is one soak: it reports whether every invariant held.
func run(ctx context.Context, o *options) (ok bool, err error) {
	w, err := newWorld(ctx, o)
	if err != nil {
		return false, err
	}
	defer func() {
		stopErr := w.stop()
		if err == nil {
			err = stopErr
		}
	}()
	start, err := w.atRest(ctx)
	if err != nil {
		return false, fmt.Errorf("before the first fault: %w", err)
	}
	w.endure(ctx)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	w.recover(ctx)
	w.watch.finish(ctx, w)
	end, err := w.atRest(ctx)
	if err != nil {
		w.watch.violated("at rest", "%v", err)
	}
	compareFigures(w.watch, start, end)
	w.print(os.Stdout, start, end)
	return len(w.watch.violations) == 0, nil
}
