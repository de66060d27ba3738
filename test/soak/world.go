// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

// world is the test bed and what goes on in it.
type world struct {
	options *options
	front   *front
	bed     *testbed.Testbed
	names   []string // of the nodes
	watch   *watch
	mounts  []string

	mu   sync.Mutex
	held map[string]bool // targets that a fault has in its hands

	cancel  context.CancelFunc
	working sync.WaitGroup // supervisor, observer, churn
	churn   context.CancelFunc
	comings sync.WaitGroup
}

var schedulerNames = []string{"corepin-scheduler", "corepin-scheduler-2"}

// machines are two nodes whose guests can be pinned, and two larger ones without guests.
func machines(hostile bool) []testbed.Machine {
	node := func(name, topology, reserved, policy string) testbed.Machine {
		return testbed.Machine{Name: name, Topology: cputopology.MustParse(topology), Guests: guest.None{}, Kubelet: simnode.KubeletSettings{
			CPUManagerPolicy: "static", CPUManagerPolicyOptions: map[string]string{"full-pcpus-only": "true"},
			TopologyManagerPolicy: policy, ReservedSystemCPUs: reserved,
		}}
	}
	all := []testbed.Machine{
		node("guests-1", "1 sockets x 1 numa x 4 cores x 2 threads", "0,4", "single-numa-node"),
		node("guests-2", "1 sockets x 1 numa x 4 cores x 2 threads", "0,4", "none"),
		node("two-numa", "2 sockets x 1 numa x 6 cores x 2 threads", "0,12", "single-numa-node"),
		node("four-numa", "2 sockets x 2 numa x 4 cores x 2 threads", "15,31", "restricted"),
	}
	for i := range all[:2] {
		all[i].Guests = newSometimesHostile(guest.TestDriver{}, hostile)
		all[i].GuestURI = "test:///default"
	}
	all[0].Hook = testbed.NobodyPins // on guests-2 KubeVirt's launcher pins
	return all
}

// diskSize is that of the file system under a kubelet's root directory: what a node of the test bed needs a hundred times.
const diskSize = "8m"

func newWorld(ctx context.Context, o *options) (*world, error) {
	w := &world{options: o, front: &front{}, held: map[string]bool{}}
	all := machines(o.hostile)
	for _, machine := range all {
		w.names = append(w.names, machine.Name)
		if err := w.mount(filepath.Join(o.dir, "nodes", machine.Name, "kubelet")); err != nil {
			return nil, errors.Join(err, w.stop())
		}
	}
	w.watch = newWatch(w.names)
	var err error
	w.bed, err = testbed.Start(ctx, testbed.Options{Dir: o.dir, Bin: o.bin, Machines: all, Front: w.front.listen, Log: os.Stderr})
	if err != nil {
		return nil, errors.Join(err, w.stop())
	}
	if _, err := w.bed.RunScheduler(ctx, schedulerNames[1], nil); err != nil {
		return nil, errors.Join(err, w.stop())
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.cancel = cancel
	if o.hostile {
		if err := w.addHostileNode(ctx, inner); err != nil {
			return nil, errors.Join(err, w.stop())
		}
	}
	w.working.Go(func() { w.supervise(inner) })
	w.working.Go(func() { w.watch.observe(inner, w) })
	return w, nil
}

// mount gives a kubelet's root directory a small file system of its own, so that filling it harms nobody else.
func (w *world) mount(dir string) error {
	for _, parent := range []string{filepath.Dir(filepath.Dir(dir)), filepath.Dir(dir), dir} {
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return fmt.Errorf("making the root directory of a kubelet: %w", err)
		}
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+diskSize); err != nil {
		return fmt.Errorf("mounting a file system for a kubelet at %s: %w", dir, err)
	}
	w.mounts = append(w.mounts, dir)
	return nil
}

// stop ends everything.
func (w *world) stop() error {
	if w.churn != nil {
		w.churn()
		w.comings.Wait()
	}
	if w.cancel != nil {
		w.cancel()
		w.working.Wait()
	}
	var errs []error
	if w.bed != nil {
		errs = append(errs, w.bed.Stop())
	}
	w.front.close()
	for _, dir := range w.mounts {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

func (w *world) agentNames() []string {
	var names []string
	for _, node := range w.names {
		names = append(names, "corepin-agent-"+node)
	}
	return names
}

// take holds a target for a fault; false where another fault has it.
func (w *world) take(target string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[target] {
		return false
	}
	w.held[target] = true
	return true
}

func (w *world) give(target string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.held, target)
}

// supervise starts what ended by itself again, as a Deployment, a DaemonSet or a static pod would be.
func (w *world) supervise(ctx context.Context) {
	supervised := append(append([]string{"etcd", "kube-apiserver", "kube-controller-manager"}, schedulerNames...), w.agentNames()...)
	for ctx.Err() == nil {
		for _, name := range supervised {
			p := w.bed.Process(name)
			if p == nil || p.Running() || !w.take(name) {
				continue
			}
			if !p.Running() && ctx.Err() == nil {
				w.watch.count(name+" ended by itself and was started again", nil)
				if err := p.Restart(); err != nil {
					w.watch.count(name+" could not be started", err)
				}
			}
			w.give(name)
		}
		pause(ctx, 500*time.Millisecond)
	}
}

// endure injects faults, with VMs that come and go, until the time is over.
func (w *world) endure(ctx context.Context) {
	churning, stop := context.WithCancel(ctx)
	w.churn = stop
	w.comings.Go(func() { w.comeAndGo(churning, rand.New(rand.NewPCG(w.options.seed, 2))) })
	source := rand.New(rand.NewPCG(w.options.seed, 1))
	end := time.Now().Add(w.options.length)
	var injecting sync.WaitGroup
	for time.Now().Before(end) && ctx.Err() == nil {
		f, gap := w.draw(source)
		pause(ctx, gap)
		if !w.take(f.target) {
			w.watch.count("a fault met a target that another fault had", nil)
			continue
		}
		w.watch.injected(f)
		injecting.Go(func() {
			defer w.give(f.target)
			if err := f.inject(ctx, f.length); err != nil {
				w.watch.violated("fault "+f.kind, "%v", err)
			}
		})
	}
	injecting.Wait()
	stop()
	w.comings.Wait()
}

// recover ends whatever faults have left, and restarts every kubelet once more.
func (w *world) recover(ctx context.Context) {
	w.front.slow(0)
	for _, node := range w.names {
		if err := w.killKubelet(ctx, node, 0); err != nil {
			w.watch.violated("recovery", "%v", err)
		}
	}
}
