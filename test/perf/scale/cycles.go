package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/test/perf/cycle"
)

const (
	// block is how many pods each scheduler gets before it is the other's turn, so that whatever else the machine
	// does falls on both.
	block = 100
	// late is for how many binds a report is on its way.
	late = 20
	// mostCycles bounds the pods of one case.
	mostCycles = 2000
)

// cluster is nodes with a scheduler, and nothing else.
type cluster struct {
	*cycle.Scheduler
	*scenario
	nodes    []*corev1.Node
	reported []*reportedNode
	index    map[string]int
	template corev1.Pod
	pending  []*corev1.Pod // bound, and not yet reported
	pods     int
	spent    time.Duration // CPU time of the process during the cycles
}

// measureCycles measures the CPU time of scheduling cycles, with the plugin and without, side by side.
func measureCycles(ctx context.Context, o *options) error {
	klog.SetLogger(logr.Discard())
	ctx = klog.NewContext(ctx, logr.Discard())
	var b strings.Builder
	fmt.Fprintf(&b, "bench-scale -cycles, %s, %s; scheduling cycles without a control plane, CPU time\n", time.Now().Format("2006-01-02"), host())
	fmt.Fprintf(&b, "nodes: %s, full-pcpus-only, single-numa-node; reports come %d binds late; stock and corepin take turns\n", machine, late)
	fmt.Fprintf(&b, "%6s %-10s %6s %14s %16s %8s\n", "nodes", "pods", "cycles", "stock us/pod", "corepin us/pod", "ratio")
	for _, nodes := range o.nodes {
		for i := 0; i+1 < len(cases); i += 2 {
			stock, ours, err := besideEachOther(ctx, &cases[i], &cases[i+1], nodes)
			if err != nil {
				return fmt.Errorf("measuring cycles of %s pods on %d nodes: %w", cases[i].pods, nodes, err)
			}
			fmt.Fprintf(&b, "%6d %-10s %6d %14.0f %16.0f %8.2f\n", nodes, cases[i].pods, stock.pods, stock.perPod(), ours.perPod(), stock.perPod()/ours.perPod())
		}
	}
	b.WriteString("ratio: pods that corepin schedules in the CPU time in which stock schedules one\n")
	return o.write("cycles.txt", b.String())
}

func besideEachOther(ctx context.Context, a, b *scenario, nodes int) (stock, ours *cluster, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if stock, err = newCluster(ctx, a, nodes); err != nil {
		return nil, nil, err
	}
	if ours, err = newCluster(ctx, b, nodes); err != nil {
		return nil, nil, err
	}
	for range min(podsPerNode*nodes, mostCycles) / block {
		for _, c := range []*cluster{stock, ours} {
			runtime.GC() // so that neither pays for what the other threw away
			for range block {
				if err := c.schedule(ctx); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	return stock, ours, nil
}

func newCluster(ctx context.Context, s *scenario, nodes int) (*cluster, error) {
	configuration, err := s.configuration()
	if err != nil {
		return nil, err
	}
	c := &cluster{scenario: s, index: map[string]int{}}
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
		c.nodes, c.reported, c.index[n.Name] = append(c.nodes, n), append(c.reported, newReportedNode()), i
		c.AddNode(ctx, n)
		if err := c.tell(i); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// tell tells the scheduler a node's report.
func (c *cluster) tell(i int) error {
	report, err := c.reported[i].report(c.nodes[i])
	if err == nil {
		c.Report(report)
	}
	return err
}

// schedule is one pod more: its cycle is timed, what surrounds it is not.
func (c *cluster) schedule(ctx context.Context) error {
	pod := c.template.DeepCopy()
	pod.Name = fmt.Sprintf("pod-%d", c.pods)
	pod.Namespace, pod.UID = "vms", types.UID(pod.Name)
	if c.scenario.pods == dedicated {
		pod.Status.QOSClass = corev1.PodQOSGuaranteed
	}
	c.pods++
	if err := c.Came(pod); err != nil {
		return err
	}
	before, err := processTime()
	if err != nil {
		return err
	}
	var host string
	// The label tells the two apart in a profile.
	pprof.Do(ctx, pprof.Labels("scheduler", c.scheduler()), func(ctx context.Context) { host, err = c.Choose(ctx, pod) })
	if err != nil {
		return err
	}
	after, err := processTime()
	if err != nil {
		return err
	}
	c.spent += after - before
	if host == "" {
		return fmt.Errorf("pod %s found no node", pod.Name)
	}
	pod.Spec.NodeName = host
	if err := c.Bound(ctx, pod); err != nil {
		return err
	}
	if c.scenario.pods != dedicated {
		return nil
	}
	c.pending = append(c.pending, pod)
	if len(c.pending) <= late {
		return nil
	}
	first := c.pending[0]
	c.pending = c.pending[1:]
	asks := kubeletcpu.PodOf(first)
	at := c.index[first.Spec.NodeName]
	if decision := c.reported[at].admit(first.UID, &asks); decision.Verdict != kubeletcpu.Admitted && c.plugin {
		return fmt.Errorf("pod %s was bound to %s, and the kubelet would refuse it: %s", first.Name, first.Spec.NodeName, decision)
	}
	return c.tell(at)
}

func (c *cluster) perPod() float64 { return float64(c.spent.Microseconds()) / float64(c.pods) }

// processTime is the CPU time that this process has used, of all threads: what else runs on the machine is not in
// it.
func processTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("reading the CPU time used: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
