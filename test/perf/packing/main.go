// SPDX-License-Identifier: Apache-2.0

// Command packing measures where schedulers put dedicated VMs, and what the kubelets say to it.
//
// A hundred nodes of three machine types get the same seeded trace of VMs that come and go. Stock
// kube-scheduler runs it with LeastAllocated (its default) and MostAllocated, corepin with each scoring
// strategy. It is a simulation. Real in it are:
//
//   - The schedulers: kube-scheduler's own cycle with all default plugins, and for corepin with the configuration
//     in manifests/base (test/perf/cycle). Only queue, binding and API server are left out: the trace is the queue,
//     and the scheduler learns of a bound pod at once.
//   - The kubelets: every bound pod goes to the CPU manager and the topology manager of k8s.io/kubernetes, and to
//     the kubelet's fit predicate (test/harness/simnode). They admit or refuse it. What the agent's own code makes of
//     their state is corepin's report, before the next VM comes. So reports are current here. Late reports
//     are for test/integration.
//
// Every launcher pod has a sidecar of 200m in the shared pool, so a node never gives all its CPUs to VMs.
// kube-scheduler counts the sidecars, and a node with 62 CPUs takes 28 VMs of 2 CPUs.
//
// There are two classes of traces. "mixed" has VMs of 1, 2, 3, 4, 8, 16 and 32 CPUs; every fifth has one CPU more,
// for its emulator thread. "even" has even sizes only; the emulator thread gets two CPUs. Each is run in two
// ways. Fill: VMs come and stay, until a tenth more was asked for than there is. Churn: VMs come and go, asking at
// first for 85 and then for 115 of 100 CPUs. A VM that is refused or finds no node is lost. In the columns "with
// retries" a refused one is tried up to five times more, as its controller would. Stranded CPUs are
// counted with the trace's own VMs: of each size, the free CPUs on nodes that could not take such a VM,
// weighted by how often the size comes.
//
// With -apart the VMs come in applications of three. Each VM prefers hosts without another VM of its application.
// The table then shows what this preference costs in CPUs placed. Without it no VM prefers a host.
//
// With -devices the nodes have the memory manager and the device manager too, huge pages, and VFs of two network cards on
// different NUMA nodes. Half of the VMs ask for one VF or two, and half have their memory in huge pages. A second table then
// has the VFs and huge pages in use, beside all that there are. Stranded CPUs are those for VMs that ask for CPUs only.
//
// kube-scheduler chooses at random between equal nodes, so figures differ from run to run, by about two in a
// thousand. At the end of a fill every scheduler without refusals is that close to what is possible: what is left
// over is what the sidecars ask for. One that lost small VMs to refusals can end a little higher, since it has
// fewer sidecars.
//
// The contender "sample" searches a node as kube-scheduler does, which stops when it has found enough. That differs from the shipped
// search in clusters of more than a hundred nodes: see -nodes.
//
// With -moves 1,2,3,5 the default strategy alone runs the traces, and a VM that finds no node is placed after live migrations:
// at most one, then two and so on. Package simulation plans them, as kubectl corepin rebalance does, and all VMs may move. Each
// one is made on the simulated nodes: the other node's kubelet admits a second pod of the VM while the first one still has its
// CPUs. It is an error where a kubelet refuses it or grants other CPUs than the plan says, and where the scheduler finds no node for
// the VM after the plan. The bound is all nodes as one, on which no free CPU is in the wrong place. What memory, huge pages and VFs
// allow is not in it. A search for five migrations can take many seconds, and -placements ends it earlier.
//
// At the end of a fill each kubelet is restarted once, and the table has the VMs that the kubelets then fail. A kubelet up
// to 1.36 with full-pcpus-only does that (package admission, Readmit). With -whole-cores all nodes have that option.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

func main() {
	out := flag.String("out", ".", "folder for packing.txt and packing.svg")
	seeds := flag.Int("seeds", 1, "traces of each class")
	apart := flag.Bool("apart", false, "VMs prefer hosts without another VM of their application")
	wholeCores := flag.Bool("whole-cores", false, "all nodes have full-pcpus-only")
	devices := flag.Bool("devices", false, "nodes have memory manager policy Static, huge pages and VFs, and VMs ask for them")
	nodes := flag.Int("nodes", nodeCount, "how many nodes there are")
	moves := flag.String("moves", "", "measure live migrations instead: so many for a VM, such as 1,2,3,5")
	placements := flag.Int("placements", 100_000, "with -moves, how many placements of VMs a search tries; rebalance tries as many by default")
	only := flag.String("only", "", "run only contenders whose name has one of these texts, separated by commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	// kube-scheduler and the kubelet's packages log every step.
	klog.SetLogger(logr.Discard())
	ctx = klog.NewContext(ctx, logr.Discard())
	b := bench{*nodes, *seeds, *placements, *apart, *wholeCores, *devices}
	measured := func() error { return run(ctx, *out, *only, b) }
	if *moves != "" {
		measured = func() error { return runMoves(ctx, *out, *moves, b) }
	}
	if err := measured(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run measures all, prints and writes the tables and the plot, and fails if a kubelet refused a VM of corepin's.
func run(ctx context.Context, out, only string, b bench) error {
	var results []result
	for _, class := range classes {
		for _, contender := range contenders {
			wanted := func(text string) bool { return strings.Contains(contender.name, text) }
			if !slices.ContainsFunc(strings.Split(only, ","), wanted) {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s, %s\n", class.name, contender.name)
			r, err := measure(ctx, class, contender, b)
			if err != nil {
				return fmt.Errorf("measuring %s on trace %s: %w", contender.name, class.name, err)
			}
			results = append(results, r)
		}
	}
	text := table(results, b)
	fmt.Print(text)
	err := write(out, map[string]string{"packing.txt": text, "packing.svg": plot(results)})
	if err != nil {
		return err
	}
	return judge(results)
}

// write writes the results into a folder, by the names of their files.
func write(out string, results map[string]string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("making the folder for the results: %w", err)
	}
	for name, content := range results {
		if err := os.WriteFile(filepath.Join(out, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("writing the results: %w", err)
		}
	}
	return nil
}
