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
	flag.StringVar(&options.out, "out", ".", "folder for scale.txt, cycles.txt and changes.txt, and the raw figures")
	flag.StringVar(&options.profile, "cpuprofile", "", "file for a CPU profile of the benchmark's process")
	flag.IntVar(&options.rounds, "rounds", 1, "how often each case is run four times, twice with each scheduler")
	flag.StringVar(&options.pods, "pods", dedicated+","+ordinary, "kinds of pods, separated by commas")
	one := flag.String("one", "", "run one case, at the size in -nodes, and write what came of it to this file; what this program calls itself with")
	plugin := flag.Bool("plugin", false, "with -one: corepin's scheduler")
	changes := flag.Bool("changes", false, "measure changing reports instead, with the binaries in -bin")
	cycles := flag.Bool("cycles", false, "measure the CPU time of scheduling cycles instead")
	flag.IntVar(&options.life.kinds, "kinds", 1, "with -cycles: how many kinds of pods come")
	flag.IntVar(&options.life.full, "full", 0, "with -cycles: how many nodes of 100 have no CPUs left at first")
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
