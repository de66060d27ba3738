// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/flowcontrol"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/test/harness/testbed"
)

const (
	changesPerSecond = 50
	// shippedVerbosity is that of the log, as the Deployment has it.
	shippedVerbosity = 2
	// ticksPerSecond is the unit of the times in /proc/<pid>/stat, the same on every Linux that Go runs on.
	ticksPerSecond = 100
)

// measureChanges measures corepin-scheduler, as a process of its own, while reports change and there is no pod.
// It measures each size first without changes and then with changesPerSecond. Each change grants CPUs or takes
// them back.
func measureChanges(ctx context.Context, o *options) error {
	var b strings.Builder
	fmt.Fprintf(&b, "bench-scale -changes, %s, %s, load %s; corepin-scheduler as a process beside etcd and API server\n", time.Now().Format("2006-01-02"), host(), load())
	b.WriteString("cores: CPU that a process uses; ms: CPU that a change costs it; a report: bytes, as the API server sends it\n")
	fmt.Fprintf(&b, "%6s %10s %10s %15s %12s %9s %9s %16s %14s\n",
		"nodes", "a report", "changes/s", "scheduler cores", "scheduler ms", "RSS MB", "peak MB", "API server cores", "API server ms")
	for _, nodes := range o.nodes {
		if err := changesOf(ctx, &b, nodes, o); err != nil {
			return fmt.Errorf("measuring changing reports of %d nodes: %w", nodes, err)
		}
	}
	return o.write("changes.txt", b.String())
}

func changesOf(ctx context.Context, b *strings.Builder, nodes int, o *options) (err error) {
	dir, err := os.MkdirTemp("", "scale")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	bed, err := testbed.Start(ctx, withoutKubelets(testbed.Options{Dir: dir, Bin: o.bin}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()
	scheduler, err := lone(ctx, bed, nil)
	if err != nil {
		return err
	}
	empty, err := scheduler.usage()
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "%6d %10s %10s %15s %12s %9.0f %9.0f %16s %14s\n", 0, "-", "-", "-", "-", empty.rss, empty.peak, "-", "-")
	a, err := populate(ctx, bed, nodes, nil)
	if err != nil {
		return err
	}
	size, err := a.reportSize(ctx)
	if err != nil {
		return err
	}
	if err := scheduler.awaitQuiet(ctx); err != nil {
		return err
	}
	watched := []pid{scheduler, pid(bed.Process("kube-apiserver").PID())}
	for _, rate := range []int{0, changesPerSecond} {
		before, err := usages(watched)
		if err != nil {
			return err
		}
		start := time.Now()
		changed, err := a.change(ctx, rate, o.watched)
		if err != nil {
			return err
		}
		after, err := usages(watched)
		if err != nil {
			return err
		}
		seconds := time.Since(start).Seconds()
		ours, server := after[0].cpu-before[0].cpu, after[1].cpu-before[1].cpu
		fmt.Fprintf(b, "%6d %10d %10.1f %15.3f %12s %9.0f %9.0f %16.3f %14s\n", nodes, size, float64(changed)/seconds,
			ours/seconds, each(ours, changed), after[0].rss, after[0].peak, server/seconds, each(server, changed))
	}
	return nil
}

// withoutKubelets makes a testbed for nodes that nobody speaks for: they are ready as they are made, and stay so.
func withoutKubelets(o testbed.Options) testbed.Options {
	o.Log = os.Stderr
	o.Verbosity = shippedVerbosity
	o.APIServerArgs = append(o.APIServerArgs, "--disable-admission-plugins=TaintNodesByCondition")
	o.ControllerArgs = append(o.ControllerArgs, "--node-monitor-grace-period=24h")
	return o
}

// each is what one of n changes costs, in milliseconds, of so many seconds.
func each(seconds float64, n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", 1000*seconds/float64(n))
}

// reportSize is how long one report is.
func (a *agents) reportSize(ctx context.Context) (int, error) {
	list, err := a.client.Resource(reports).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, fmt.Errorf("reading a report: %w", err)
	}
	text, err := list.Items[0].MarshalJSON()
	return len(text), err
}

// lone starts a scheduler in place of the testbed's that needs no lease: on a machine that is busy enough it would
// be lost, and the scheduler end. change, where it is not nil, changes its configuration.
func lone(ctx context.Context, bed *testbed.Testbed, change func(config map[string]any)) (pid, error) {
	if err := bed.Scheduler.Stop(); err != nil {
		return 0, fmt.Errorf("stopping the scheduler that has a lease: %w", err)
	}
	process, err := bed.RunScheduler(ctx, "lone-scheduler", func(config map[string]any) {
		config["leaderElection"] = map[string]any{"leaderElect": false}
		if change != nil {
			change(config)
		}
	})
	if err != nil {
		return 0, err
	}
	return pid(process.PID()), pid(process.PID()).awaitQuiet(ctx)
}

// populate makes the nodes and their first reports. equip, where it is not nil, changes the nodes' template.
func populate(ctx context.Context, bed *testbed.Testbed, nodes int, equip func(*corev1.Node) error) (*agents, error) {
	config := bed.AdminConfig()
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	custom, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	var template corev1.Node
	if err := yaml.Unmarshal([]byte(nodeTemplate), &template); err != nil {
		return nil, fmt.Errorf("reading the node's template: %w", err)
	}
	if equip != nil {
		if err := equip(&template); err != nil {
			return nil, err
		}
	}
	all := make([]corev1.Node, nodes)
	err = eachOf(nodes, func(i int) error {
		node, err := client.CoreV1().Nodes().Create(ctx, template.DeepCopy(), metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("creating a node: %w", err)
		}
		all[i] = *node
		return nil
	})
	if err != nil {
		return nil, err
	}
	a := newAgents(custom, dedicated, func(*corev1.Pod, admission.Decision) {})
	return a, a.introduce(ctx, all)
}

// change changes reports, so many a second, and gives how many it has changed. When the API server is late, the changes
// that are owed follow as fast as it takes them: each costs it some 20 ms of CPU time, far more than the scheduler.
func (a *agents) change(ctx context.Context, perSecond int, watched time.Duration) (int, error) {
	if perSecond == 0 {
		select {
		case <-ctx.Done():
		case <-time.After(watched):
		}
		return 0, ctx.Err()
	}
	names := slices.Sorted(maps.Keys(a.nodes))
	pace := flowcontrol.NewTokenBucketRateLimiter(float32(perSecond), perSecond)
	total := perSecond * int(watched/time.Second)
	return total, eachOf(total, func(n int) error {
		if err := pace.Wait(ctx); err != nil {
			return fmt.Errorf("waiting for the next change: %w", err)
		}
		return a.toggle(ctx, names[n%len(names)], n/len(names))
	})
}

// toggle grants a pod 4 CPUs on a node, or takes them back, by turns.
func (a *agents) toggle(ctx context.Context, name string, turn int) error {
	cpus := cpuset.Of(1, 2, 65, 66)
	shared, granted := topology.CPUs(), map[types.UID]map[string]cpuset.Set{}
	if turn%2 == 0 {
		shared = shared.Minus(cpus)
		granted[types.UID("pod-on-"+name)] = map[string]cpuset.Set{"compute": cpus}
	}
	var status v1alpha1.NodeCPUStatus
	nodereport.SetGranted(&status, granted)
	return a.patch(ctx, name, map[string]any{"sharedCPUs": shared.String(), "granted": status.Granted})
}

// pid is a process to be watched.
type pid int

// usage is what a process has used.
type usage struct {
	cpu       float64 // seconds
	rss, peak float64 // MB
}

func usages(of []pid) ([]usage, error) {
	all := make([]usage, len(of))
	for i, p := range of {
		var err error
		if all[i], err = p.usage(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (p pid) usage() (usage, error) {
	var u usage
	proc := filepath.Join("/proc", strconv.Itoa(int(p)))
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return u, fmt.Errorf("reading what a process uses: %w", err)
	}
	// The name, in parentheses, may have blanks; utime and stime are the 12th and 13th field after it.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return u, fmt.Errorf("reading what a process uses: %s/stat has %d fields", proc, len(fields))
	}
	for _, field := range fields[11:13] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return u, fmt.Errorf("reading what a process uses: %w", err)
		}
		u.cpu += float64(ticks) / ticksPerSecond
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return u, fmt.Errorf("reading what a process uses: %w", err)
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		var kilobytes float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kilobytes); n == 1 {
			u.rss = kilobytes / 1024
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kilobytes); n == 1 {
			u.peak = kilobytes / 1024
		}
	}
	return u, nil
}

// awaitQuiet waits until the process has caught up: a second with less than a tenth of a core.
func (p pid) awaitQuiet(ctx context.Context) error {
	last, err := p.usage()
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, time.Second, 5*time.Minute, false, func(context.Context) (bool, error) {
		now, err := p.usage()
		quiet := now.cpu-last.cpu < 0.1
		last = now
		return quiet, err
	})
	if err != nil {
		return fmt.Errorf("waiting until the scheduler has nothing left to do, after %.1f s of CPU time: %w", last.cpu, err)
	}
	return nil
}
