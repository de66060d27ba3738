// SPDX-License-Identifier: Apache-2.0

// Command scale measures what the plugin costs kube-scheduler on large clusters.
//
// It runs scheduler_perf, the benchmark of kube-scheduler itself (k8s.io/kubernetes/test/integration/scheduler_perf):
// etcd as a child process, and in one process kube-apiserver and the scheduler. Each case is run with the scheduler as it
// is and with plugin DedicatedCPU as manifests/base configures it, on the same nodes, reports and pods:
//
//	dedicated  launcher pods of VMs of 4 dedicated CPUs, with a sidecar of 200m; two for each node
//	furnished  the same with huge pages and a VF, on nodes that have them on both NUMA nodes, and a memory manager
//	ordinary   pods that ask for 100m; two for each node
//
// Nodes have 128 CPUs in two NUMA nodes. There is no kubelet and no agent: the command stands in for all of them
// (agents.go). It writes a report for each node, watches pods being bound, admits them with package
// admission and writes the CPUs they get into the node's report, as the node's agent would. It does so
// for the stock scheduler too, which does not read the reports, so that both share the machine with the
// same load. A launcher pod of corepin's that would be refused ends the benchmark.
//
// Two runs of the same scheduler differ by more than what is asked about, and a virtual machine gets slower and
// faster in minutes. So the runs of a round are stock, corepin, corepin, stock; the next round is the other way
// round. A steady change of speed affects both alike, and the difference of stock to itself is printed beside
// the ratio. Each run is a process of its own, which inherits no heap from the one before. CPU time is printed
// too, because it does not include waiting for a busy host.
//
// With -cycles it measures the CPU time of scheduling cycles without a control plane around them (cycles.go), which a
// busy machine distorts least. With -changes it measures the scheduler beside nothing but changing reports instead (changes.go).
//
// With -storm many VMs come at once (storm.go), with the launcher pods that KubeVirt would make for them: time until all are bound or
// told why not, and what the scheduler uses meanwhile. Its requests are counted from the API server's audit log. With -failover the
// scheduler that leads is killed in the middle (failover.go). In both the schedulers are processes of their own, as in -changes.
//
// The whole control plane runs on the machine of the benchmark, and with few CPUs it takes most of them. So
// the time that the plugin takes at each of its extension points counts beside the ratio of throughputs. A dash means
// that the point was not called, or that the framework's recorder kept no figure: it has room for a thousand a second.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"
)

func main() {
	if filepath.Base(os.Args[0]) == etcdName {
		os.Exit(runEtcd(os.Args[1:]))
	}
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure() error {
	options := options{}
	sizes := flag.String("nodes", "500,1000,5000", "sizes of the cluster, separated by commas")
	flag.StringVar(&options.out, "out", ".", "folder for the tables, and the raw figures")
	flag.StringVar(&options.profile, "cpuprofile", "", "file for a CPU profile of the benchmark's process")
	flag.IntVar(&options.rounds, "rounds", 1, "how often each case is run four times, twice with each scheduler")
	flag.StringVar(&options.pods, "pods", dedicated+","+ordinary, "kinds of pods, separated by commas")
	one := flag.String("one", "", "run one case, at the size in -nodes, and write what came of it to this file; what this program calls itself with")
	plugin := flag.Bool("plugin", false, "with -one: corepin's scheduler")
	changes := flag.Bool("changes", false, "measure changing reports instead, with the binaries in -bin")
	cycles := flag.Bool("cycles", false, "measure the CPU time of scheduling cycles instead")
	flag.IntVar(&options.life.kinds, "kinds", 1, "with -cycles, -storm and -failover: how many kinds of pods come")
	flag.IntVar(&options.life.full, "full", 0, "with -cycles: how many nodes of 100 have no CPUs left at first")
	flag.IntVar(&options.life.late, "late", 20, "with -cycles: for how many binds a report is on its way")
	flag.DurationVar(&options.watched, "watched", 30*time.Second, "with -changes: how long each measurement is")
	storm := flag.Bool("storm", false, "measure many VMs at once instead, with the binaries in -bin")
	failover := flag.Bool("failover", false, "measure the loss of the scheduler that leads instead, with the binaries in -bin")
	flag.IntVar(&options.squall.vms, "vms", 0, "with -storm and -failover: how many VMs come; 0 is two for each node")
	flag.BoolVar(&options.squall.withVMIs, "vmis", false, "with -storm and -failover: make the VMs' VMI objects too")
	flag.IntVar(&options.squall.unfit, "unfit", 0, "with -storm: how many VMs of 100 fit no node")
	flag.StringVar(&options.squall.schedulers, "schedulers", "stock,corepin", "with -storm: the schedulers, in the order of their runs")
	bin := flag.String("bin", "bin", "folder with clusterd and corepin-scheduler")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := options.parse(*sizes, *bin); err != nil {
		return err
	}
	return options.profiled(func() error {
		switch {
		case *one != "":
			return measureOne(&options, &scenario{plugin: *plugin, pods: options.pods}, *one)
		case *cycles:
			return measureCycles(ctx, &options)
		case *changes:
			return measureChanges(ctx, &options)
		case *storm:
			return measureStorm(ctx, &options)
		case *failover:
			return measureFailover(ctx, &options)
		}
		return measureScheduling(ctx, &options)
	})
}

type options struct {
	nodes   []int
	pods    string
	out     string
	bin     string
	profile string
	rounds  int
	life    life
	squall  squall
	watched time.Duration // of -changes
}

func (o *options) parse(sizes, bin string) error {
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("reading -nodes: %q is not a number of nodes", text)
		}
		o.nodes = append(o.nodes, n)
	}
	for kind := range strings.SplitSeq(o.pods, ",") {
		if podTemplates[kind] == "" {
			return fmt.Errorf("reading -pods: there are %s, %s and %s pods, not %q", dedicated, furnished, ordinary, kind)
		}
	}
	o.squall.kinds = o.life.kinds
	if o.squall.kinds < 1 || o.squall.unfit < 0 || o.squall.unfit > 100 {
		return fmt.Errorf("reading -kinds and -unfit: %d kinds and %d of 100 make no VMs", o.squall.kinds, o.squall.unfit)
	}
	var err error
	if o.out, err = filepath.Abs(o.out); err != nil {
		return fmt.Errorf("reading -out: %w", err)
	}
	if o.bin, err = filepath.Abs(bin); err != nil {
		return fmt.Errorf("reading -bin: %w", err)
	}
	return os.MkdirAll(o.out, 0o755)
}

// profiled writes a CPU profile of what do does, where one is asked for.
func (o *options) profiled(do func() error) error {
	if o.profile == "" {
		return do()
	}
	file, err := os.Create(o.profile)
	if err != nil {
		return fmt.Errorf("making the profile: %w", err)
	}
	defer file.Close()
	if err := pprof.StartCPUProfile(file); err != nil {
		return fmt.Errorf("starting the profile: %w", err)
	}
	defer pprof.StopCPUProfile()
	return do()
}

// write prints a table and keeps it.
func (o *options) write(name, text string) error {
	fmt.Print(text)
	if err := os.WriteFile(filepath.Join(o.out, name), []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}
