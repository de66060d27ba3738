// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/test/perf/cycle"
)

// block is how many pods each scheduler gets before it is the other's turn, so that whatever else the machine
// does falls on both.
const block = 100

// cluster is nodes with a scheduler, and nothing else.
type cluster struct {
	*cycle.Scheduler
	*scenario
	*life
	nodes    []*corev1.Node
	reported []*reportedNode
	index    map[string]int
	template corev1.Pod
	pending  []*corev1.Pod // bound, and not yet reported
	pods     int
	cycles   cost // of the scheduling cycles
	reports  cost // of reading the reports that came
}

// cost is what something took.
type cost struct {
	cpu       time.Duration // of the process, all threads
	allocated uint64        // bytes
}

// of adds what do costs.
func (c *cost) of(do func() error) error {
	before, err := spent()
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	after, err := spent()
	c.cpu += after.cpu - before.cpu
	c.allocated += after.allocated - before.allocated
	return err
}

// measureCycles measures the CPU time of scheduling cycles, with the plugin and without, side by side.
func measureCycles(ctx context.Context, o *options) error {
	klog.SetLogger(logr.Discard())
	ctx = klog.NewContext(ctx, logr.Discard())
	var b strings.Builder
	fmt.Fprintf(&b, "bench-scale -cycles, %s, %s; scheduling cycles without a control plane, CPU time\n", time.Now().Format("2006-01-02"), host())
	fmt.Fprintf(&b, "nodes: %s, full-pcpus-only, single-numa-node; reports come %d binds late; stock and corepin take turns\n", machine, o.life.late)
	fmt.Fprintf(&b, "%d kinds of pods, which differ in CPUs, sidecar and name; %d of 100 nodes are full at first\n", o.life.kinds, o.life.full)
	b.WriteString("us, KB: CPU time and allocated memory of a pod's cycle, no garbage collected meanwhile; report: of reading the pod's report\n")
	b.WriteString("us/node: the cycle's CPU time by the nodes that it filtered\n")
	fmt.Fprintf(&b, "%6s %-10s %6s %9s %9s %8s %9s %11s %8s %9s %10s %9s\n", "nodes", "pods", "cycles", "stock us", "stock KB", "us/node", "corepin us", "corepin KB", "us/node", "report us", "report KB", "ratio")
	for _, nodes := range o.nodes {
		for pods := range strings.SplitSeq(o.pods, ",") {
			stock, ours, err := besideEachOther(ctx, &scenario{false, pods}, &scenario{true, pods}, nodes, &o.life)
			if err != nil {
				return fmt.Errorf("measuring cycles of %s pods on %d nodes: %w", pods, nodes, err)
			}
			fmt.Fprintf(&b, "%6d %-10s %6d %9.0f %9.0f %8.2f %9.0f %11.0f %8.2f %9.0f %10.0f %9.2f\n", nodes, pods, stock.pods,
				stock.micros(stock.cycles), stock.kilobytes(stock.cycles), stock.microsANode(),
				ours.micros(ours.cycles), ours.kilobytes(ours.cycles), ours.microsANode(),
				ours.micros(ours.reports), ours.kilobytes(ours.reports), stock.micros(stock.cycles)/ours.micros(ours.cycles))
		}
	}
	b.WriteString("ratio: pods that corepin schedules in the CPU time of cycles in which stock schedules one\n")
	return o.write("cycles.txt", b.String())
}

func besideEachOther(ctx context.Context, a, b *scenario, nodes int, l *life) (stock, ours *cluster, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if stock, err = newCluster(ctx, a, nodes, l); err != nil {
		return nil, nil, err
	}
	if ours, err = newCluster(ctx, b, nodes, l); err != nil {
		return nil, nil, err
	}
	for range l.pods(nodes) / block {
		for _, c := range []*cluster{stock, ours} {
			// Collected between the blocks, so that neither pays for what the other, or this benchmark, threw away.
			runtime.GC()
			collect := debug.SetGCPercent(-1)
			for range block {
				if err := c.schedule(ctx); err != nil {
					return nil, nil, err
				}
			}
			debug.SetGCPercent(collect)
		}
	}
	return stock, ours, nil
}

func newCluster(ctx context.Context, s *scenario, nodes int, l *life) (*cluster, error) {
	configuration, err := s.configuration()
	if err != nil {
		return nil, err
	}
	c := &cluster{scenario: s, life: l, index: map[string]int{}}
	if c.Scheduler, err = cycle.New(ctx, configuration); err != nil {
		return nil, err
	}
	var node corev1.Node
	if err := yaml.Unmarshal([]byte(nodeTemplate), &node); err != nil {
		return nil, fmt.Errorf("reading the node's template: %w", err)
	}
	if err := yaml.Unmarshal([]byte(podTemplates[s.pods]), &c.template); err != nil {
		return nil, fmt.Errorf("reading the pod's template: %w", err)
	}
	for i := range nodes {
		n := node.DeepCopy()
		n.Name = fmt.Sprintf("node-%d", i)
		n.UID = types.UID(n.Name)
		n.Labels[corev1.LabelHostname] = n.Name
		c.nodes, c.reported, c.index[n.Name] = append(c.nodes, n), append(c.reported, newReportedNode(s.pods)), i
		c.AddNode(ctx, n)
		if err := c.fill(ctx, i); err != nil {
			return nil, err
		}
		if err := c.tell(i); err != nil {
			return nil, err
		}
	}
	c.reports = cost{}
	return c, nil
}

// tell tells the scheduler a node's report.
func (c *cluster) tell(i int) error {
	report, err := c.reported[i].report(c.nodes[i])
	if err != nil {
		return err
	}
	return c.reports.of(func() error {
		c.Report(report)
		return nil
	})
}

// schedule is one pod more: its cycle is timed, what surrounds it is not.
func (c *cluster) schedule(ctx context.Context) error {
	pod := c.pod(c.pods)
	c.pods++
	if err := c.Came(pod); err != nil {
		return err
	}
	var host string
	err := c.cycles.of(func() (err error) {
		// The label tells the two apart in a profile.
		pprof.Do(ctx, pprof.Labels("scheduler", c.scheduler()), func(ctx context.Context) { host, err = c.Choose(ctx, pod) })
		return err
	})
	if err != nil {
		return err
	}
	if host == "" {
		return fmt.Errorf("pod %s found no node", pod.Name)
	}
	pod.Spec.NodeName = host
	if err := c.Bound(ctx, pod); err != nil {
		return err
	}
	if c.scenario.pods == ordinary {
		return nil
	}
	c.pending = append(c.pending, pod)
	if len(c.pending) <= c.late {
		return nil
	}
	first := c.pending[0]
	c.pending = c.pending[1:]
	asks := admission.PodOf(first)
	at := c.index[first.Spec.NodeName]
	if decision := c.reported[at].admit(first.UID, &asks); decision.Verdict != admission.Admitted && c.plugin {
		return fmt.Errorf("pod %s was bound to %s, and the kubelet would refuse it: %s", first.Name, first.Spec.NodeName, decision)
	}
	return c.tell(at)
}

// micros and kilobytes are costs for each pod.
func (c *cluster) micros(of cost) float64    { return float64(of.cpu.Microseconds()) / float64(c.pods) }
func (c *cluster) kilobytes(of cost) float64 { return float64(of.allocated) / 1024 / float64(c.pods) }

// microsANode is what a cycle takes for each node that it filtered.
func (c *cluster) microsANode() float64 {
	return float64(c.cycles.cpu.Microseconds()) / float64(c.Evaluated())
}

// spent is what this process has used so far: what else runs on the machine is not in it.
func spent() (cost, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return cost{}, fmt.Errorf("reading the CPU time used: %w", err)
	}
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(allocated)
	return cost{time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), allocated[0].Value.Uint64()}, nil
}
