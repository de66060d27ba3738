// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/test/perf/cycle"
)

// fleet is all nodes with one contender's scheduler before them.
type fleet struct {
	*cycle.Scheduler
	nodes    map[string]*node
	dir      string
	capacity size                   // what VMs can have of all nodes; memory is not counted
	bound    map[string]*corev1.Pod // by the VM's name, which is that of its first pod
	pods     int                    // made so far
	bench    bench
	tally
}

// tally counts from the start, or since it was last set to zero.
type tally struct {
	binds, refused int
	// Not set to zero: VMs that run now and what they have, and all refusals.
	vms, everRefused int
	has              size
}

func newFleet(ctx context.Context, c *contender, b bench) (*fleet, error) {
	dir, err := os.MkdirTemp(memoryDir(), "packing")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the kubelets: %w", err)
	}
	f := &fleet{nodes: map[string]*node{}, dir: dir, bound: map[string]*corev1.Pod{}, bench: b}
	if f.Scheduler, err = c.start(ctx); err != nil {
		return nil, errors.Join(err, f.stop())
	}
	for i := range b.nodes {
		name := fmt.Sprintf("node-%03d", i)
		dir := dir + "/" + name
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("making a folder for a kubelet: %w", err), f.stop())
		}
		n, err := newNode(ctx, name, &b.machines()[i%len(b.machines())], dir)
		if err != nil {
			return nil, errors.Join(err, f.stop())
		}
		f.nodes[name] = n
		f.capacity.add(size{cpus: n.capacity(), pages: int(n.pages()), vfs: len(n.vfs())})
		f.AddNode(ctx, n.object)
		if err := f.tell(ctx, n); err != nil {
			return nil, errors.Join(err, f.stop())
		}
	}
	return f, nil
}

// memoryDir is a folder in memory, where there is one: the kubelets sync their state files at each write, and
// these nodes need not outlive a crash.
func memoryDir() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return os.TempDir()
}

func (f *fleet) stop() error {
	for _, n := range f.nodes {
		n.kubelet.Stop()
	}
	return os.RemoveAll(f.dir)
}

// restart starts each kubelet once more, over its state file, and has it admit the VMs that run there. It returns how many
// VMs the kubelets fail. The scheduler is not told: the fleet is at its end.
func (f *fleet) restart(ctx context.Context) (lost int, err error) {
	for _, name := range slices.Sorted(maps.Keys(f.nodes)) {
		var running []*corev1.Pod
		for _, pod := range f.bound {
			if pod.Spec.NodeName == name {
				running = append(running, pod)
			}
		}
		failed, err := f.nodes[name].restart(ctx, running)
		if err != nil {
			return lost, err
		}
		lost += failed
	}
	return lost, nil
}

// tell gives a node's report to the scheduler.
func (f *fleet) tell(ctx context.Context, n *node) error {
	if !f.Reads() {
		return nil
	}
	report, err := n.report(ctx)
	if err != nil {
		return err
	}
	f.Report(report)
	return nil
}

// place schedules a VM and has the kubelet admit it; refused ones are tried again so many times. It gives the
// pod that runs, "" if none does.
func (f *fleet) place(ctx context.Context, vm size, retries int) (string, error) {
	for range 1 + retries {
		f.pods++
		pod := launcherPod(fmt.Sprintf("vm-%d", f.pods), vm)
		if f.bench.apart {
			preferApart(pod, fmt.Sprint("app-", f.pods/appSize))
		}
		host, err := f.Choose(ctx, pod)
		if err != nil || host == "" {
			return "", err
		}
		f.binds++
		pod.Spec.NodeName = host
		n := f.nodes[host]
		refused, err := n.admit(pod)
		if err != nil {
			return "", err
		}
		if refused != "" {
			// A refused pod is Failed, and kube-scheduler counts such a pod no more.
			f.refused++
			f.everRefused++
			if err := f.tell(ctx, n); err != nil {
				return "", err
			}
			continue
		}
		f.vms++
		f.has.add(vm)
		f.bound[pod.Name] = pod
		if err := f.Bound(ctx, pod); err != nil {
			return "", err
		}
		return pod.Name, f.tell(ctx, n)
	}
	return "", nil
}

// remove ends a VM.
func (f *fleet) remove(ctx context.Context, name string, vm size) error {
	pod := f.bound[name]
	delete(f.bound, name)
	f.vms--
	f.has.take(vm)
	n := f.nodes[pod.Spec.NodeName]
	n.remove(pod.UID)
	if err := f.Gone(ctx, pod); err != nil {
		return err
	}
	return f.tell(ctx, n)
}

// stranded is the free CPUs that a VM of the trace to come cannot have: those of the nodes that could not take it,
// averaged over the trace's sizes.
func (f *fleet) stranded(c *class) float64 {
	sum := 0.0
	for _, s := range c.sizes {
		for _, n := range f.nodes {
			if !n.takes(s.cpus) {
				sum += float64(n.view.Free().Len()*s.percent) / 100
			}
		}
	}
	return sum
}

// unevenness is the standard deviation, over the nodes, of the share of a node's CPUs that VMs have, in
// hundredths.
func (f *fleet) unevenness() float64 {
	var sum, squares float64
	for _, n := range f.nodes {
		used := 100 * float64(n.taken().Len()) / float64(n.capacity())
		sum += used
		squares += used * used
	}
	mean := sum / float64(len(f.nodes))
	return math.Sqrt(max(0, squares/float64(len(f.nodes))-mean*mean))
}
