// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// fault is something that breaks for a while. inject returns when it is over, and mended.
type fault struct {
	kind   string
	target string
	length time.Duration
	inject func(ctx context.Context, length time.Duration) error
}

// The time between two faults, and how long one lasts.
const (
	shortestGap   = time.Second
	longestGap    = 6 * time.Second
	longestFault  = 10 * time.Second
	shortestFault = 200 * time.Millisecond
)

// draw draws the next fault and the time until it. What it draws depends on the random source and the nodes only.
func (w *world) draw(r *rand.Rand) (fault, time.Duration) {
	kinds := w.kinds()
	between := func(low, high time.Duration) time.Duration { return low + time.Duration(r.Int64N(int64(high-low))) }
	gap := between(shortestGap, longestGap)
	f := kinds[r.IntN(len(kinds))](r)
	f.length = between(shortestFault, longestFault)
	return f, gap
}

// kinds are the kinds of faults, each with a random target.
func (w *world) kinds() []func(r *rand.Rand) fault {
	var kinds []func(r *rand.Rand) fault
	for _, group := range []struct {
		name  string
		among []string
	}{
		{"agent", w.agentNames()}, {"scheduler", schedulerNames}, {"API server", []string{"kube-apiserver"}}, {"etcd", []string{"etcd"}},
	} {
		for _, does := range []struct {
			what   string
			inject func(context.Context, string, time.Duration) error
		}{{"killed", w.kill}, {"stopped", w.suspend}, {"slowed", w.throttle}} {
			kinds = append(kinds, func(r *rand.Rand) fault {
				target := group.among[r.IntN(len(group.among))]
				return fault{kind: group.name + " " + does.what, target: target, inject: func(ctx context.Context, length time.Duration) error {
					return does.inject(ctx, target, length)
				}}
			})
		}
	}
	onNode := func(kind string, inject func(context.Context, string, time.Duration) error) {
		kinds = append(kinds, func(r *rand.Rand) fault {
			node := w.names[r.IntN(len(w.names))]
			return fault{kind: kind, target: "kubelet of " + node, inject: func(ctx context.Context, length time.Duration) error { return inject(ctx, node, length) }}
		})
	}
	onNode("kubelet killed", w.killKubelet)
	onNode("kubelet restarted", w.restartKubelet)
	onNode("disk under the kubelet full", w.fillDisk)
	plain := func(kind string, inject func(context.Context, time.Duration) error) {
		kinds = append(kinds, func(*rand.Rand) fault { return fault{kind: kind, target: kind, inject: inject} })
	}
	plain("watch streams cut", func(context.Context, time.Duration) error {
		w.front.cut()
		return nil
	})
	plain("network slowed", func(ctx context.Context, length time.Duration) error {
		w.front.slow(200 * time.Millisecond)
		pause(ctx, length)
		w.front.slow(0)
		return nil
	})
	plain("times in Leases an hour off", w.misdateLeases)
	return kinds
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

// kill ends a process as a crash would, and starts it again after a while.
func (w *world) kill(ctx context.Context, name string, length time.Duration) error {
	p := w.bed.Process(name)
	if err := p.Kill(); err != nil {
		return err
	}
	pause(ctx, length)
	return p.Restart()
}

// suspend stops a process for a while without ending it: it hangs, and its connections stay.
func (w *world) suspend(ctx context.Context, name string, length time.Duration) error {
	p := w.bed.Process(name)
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	pause(ctx, length)
	return p.Signal(syscall.SIGCONT)
}

// throttle lets a process run for a fifth of the time.
func (w *world) throttle(ctx context.Context, name string, length time.Duration) error {
	const runs, stands = 20 * time.Millisecond, 80 * time.Millisecond
	p := w.bed.Process(name)
	end := time.Now().Add(length)
	for time.Now().Before(end) && ctx.Err() == nil {
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		pause(ctx, stands)
		if err := p.Signal(syscall.SIGCONT); err != nil {
			return err
		}
		pause(ctx, runs)
	}
	return nil
}

func (w *world) killKubelet(ctx context.Context, node string, length time.Duration) error {
	if err := w.bed.Nodes[node].Sim.Kill(); err != nil {
		return err
	}
	pause(ctx, length)
	return w.startKubelet(ctx, node)
}

func (w *world) restartKubelet(ctx context.Context, node string, _ time.Duration) error {
	return w.killKubelet(ctx, node, 0)
}

// startKubelet starts a kubelet that does not run, again and again until it runs, as an init system does: without the API server it does not.
func (w *world) startKubelet(ctx context.Context, node string) error {
	for {
		w.watch.starting(ctx, w, node)
		err := w.bed.Nodes[node].Sim.Restart()
		if err == nil {
			w.noteLeftovers(ctx, node, time.Now())
		}
		if err == nil || ctx.Err() != nil {
			return nil
		}
		w.watch.count("kubelet did not start at once", err)
		pause(ctx, time.Second)
	}
}

// fillDisk leaves nothing free on the file system under the kubelet's root directory.
func (w *world) fillDisk(ctx context.Context, node string, length time.Duration) error {
	w.watch.diskFull(node, true)
	defer w.watch.diskFull(node, false)
	path := filepath.Join(w.bed.Nodes[node].Sim.KubeletRootDir(), "ballast")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("filling the disk of %s: %w", node, err)
	}
	block := make([]byte, 64<<10)
	for size := len(block); size > 0; {
		_, err = file.Write(block[:size])
		if err != nil {
			size /= 2 // until not a byte is free
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(fmt.Errorf("filling the disk of %s: ended with %w, want no space left", node, err), file.Close(), os.Remove(path))
	}
	pause(ctx, length)
	return errors.Join(file.Close(), os.Remove(path))
}

// misdateLeases writes the times of the schedulers' Lease and of all nodes' an hour off, into the past or the future.
func (w *world) misdateLeases(ctx context.Context, length time.Duration) error {
	off := time.Hour
	if length%2 == 0 {
		off = -time.Hour
	}
	leases, err := w.bed.Client().CoordinationV1().Leases(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return w.unlessAway(err)
	}
	for _, lease := range leases.Items {
		if lease.Spec.RenewTime == nil {
			continue
		}
		body := fmt.Appendf(nil, `{"spec":{"renewTime":%q}}`, lease.Spec.RenewTime.Add(off).UTC().Format(metav1.RFC3339Micro))
		_, err := w.bed.Client().CoordinationV1().Leases(lease.Namespace).Patch(ctx, lease.Name, types.MergePatchType, body, metav1.PatchOptions{})
		if err != nil {
			return w.unlessAway(err)
		}
	}
	return nil
}

// unlessAway is nil for what goes wrong because the API server is away: that is another fault's doing.
func (w *world) unlessAway(err error) error {
	w.watch.count("a fault met an API server that was away", err)
	return nil
}
