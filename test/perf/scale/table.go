// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	perf "k8s.io/kubernetes/test/integration/scheduler_perf"

	"corepin.dev/corepin/scheduler/dedicatedcpu"
)

// result is what came of one run, in the form in which one process tells it to another.
type result struct {
	Throughput    float64                       // pods per second, from the first to the last
	CPU           float64                       // milliseconds of the process for a pod: API server, scheduler, stand-in
	AttemptP99    float64                       // milliseconds that a scheduling attempt takes
	Filter, Score float64                       // microseconds that all plugins together take for a pod
	Heap          float64                       // MB at most, API server included
	Refused       int                           // pods that their kubelet would refuse
	Points        map[string]map[string]float64 // microseconds of a call, by plugin and extension point
}

// plugins are ours and two of the stock ones, to compare with. NodeUnschedulable reads two fields of a node, so its
// time is what the framework's clock and a busy machine add to each plugin. NodeResourcesFit counts.
var plugins = []string{dedicatedcpu.Name, "NodeUnschedulable", "NodeResourcesFit"}

// pluginPoints are the extension points of the plugin that a cycle calls, in order.
var pluginPoints = []string{"PreFilter", "Filter", "PreScore", "Score", "PostBind"}

func newResult(items []perf.DataItem, w *world) *result {
	r := &result{Refused: int(w.refused.Load()), Points: map[string]map[string]float64{}}
	r.Throughput, r.CPU = w.agents.throughput()
	for _, plugin := range plugins {
		r.Points[plugin] = map[string]float64{}
	}
	for _, item := range items {
		const us = 1000 // the items are in milliseconds
		switch item.Labels["Metric"] {
		case "heap_memory_usage":
			r.Heap = item.Data["Max"]
		case "scheduler_scheduling_attempt_duration_seconds":
			if item.Labels["result"] == "scheduled" {
				r.AttemptP99 = item.Data["Perc99"]
			}
		case "scheduler_framework_extension_point_duration_seconds":
			switch item.Labels["extension_point"] {
			case "Filter":
				r.Filter = us * item.Data["Average"]
			case "Score":
				r.Score = us * item.Data["Average"]
			}
		case "scheduler_plugin_execution_duration_seconds":
			if points := r.Points[item.Labels["plugin"]]; points != nil {
				points[item.Labels["extension_point"]] = us * item.Data["Average"]
			}
		}
	}
	return r
}

const tableFile = "scale.txt"

// table says what was measured, on what and when.
func table(rounds []round) string {
	var b strings.Builder
	fmt.Fprintf(&b, "bench-scale, %s, %s; etcd, API server, scheduler and the stand-in for agents share it\n", time.Now().Format("2006-01-02"), host())
	fmt.Fprintf(&b, "nodes: %s, full-pcpus-only, single-numa-node; %d pods for each node, made as fast as can be; scheduler_perf v1.36.3\n", machine, podsPerNode)
	b.WriteString("CPU ms: of the process for a pod, all but etcd; attempt p99: milliseconds of a scheduling attempt;\n")
	b.WriteString("Filter, Score: microseconds of all plugins for a pod; heap: MB, API server included. In the order of the runs:\n\n")
	fmt.Fprintf(&b, "%6s %-10s %-8s %9s %7s %12s %10s %10s %6s %9s\n", "nodes", "pods", "", "pods/s", "CPU ms", "attempt p99", "Filter us", "Score us", "heap", "refused")
	for _, round := range rounds {
		for _, r := range round.runs {
			fmt.Fprintf(&b, "%6d %-10s %-8s %9.1f %7.2f %12.2f %10.0f %10.0f %6.0f %9d\n",
				round.nodes, round.pods, r.scheduler(), r.Throughput, r.CPU, r.AttemptP99, r.Filter, r.Score, r.Heap, r.Refused)
		}
	}
	b.WriteString(ratios(rounds))
	b.WriteString(calls(rounds))
	return b.String()
}

// ratios compare the schedulers: by round, and by all rounds of a kind of pods and size.
func ratios(rounds []round) string {
	var b strings.Builder
	b.WriteString("\ncorepin to stock, two runs of each in a round (in brackets: stock's later run to its earlier one)\n")
	fmt.Fprintf(&b, "%6s %-10s %-8s %8s %14s\n", "nodes", "pods", "", "pods/s", "pods a CPU s")
	var together []round
	for i := range rounds {
		r := &rounds[i]
		b.WriteString(r.compared("a round"))
		at := slices.IndexFunc(together, func(t round) bool { return t.nodes == r.nodes && t.pods == r.pods })
		if at < 0 {
			together = append(together, round{nodes: r.nodes, pods: r.pods})
			at = len(together) - 1
		}
		together[at].runs = append(together[at].runs, r.runs...)
	}
	for i := range together {
		if t := &together[i]; len(together) < len(rounds) {
			b.WriteString(t.compared("all"))
		}
	}
	return b.String()
}

// compared is a line of ratios.
func (r *round) compared(what string) string {
	stock, corepin := r.of(false), r.of(true)
	rate, cost := func(r run) float64 { return r.Throughput }, func(r run) float64 { return 1 / r.CPU }
	itself := ""
	if len(stock) == 2 {
		itself = fmt.Sprintf(" (stock to itself %.3f, %.3f)", rate(stock[1])/rate(stock[0]), cost(stock[1])/cost(stock[0]))
	}
	return fmt.Sprintf("%6d %-10s %-8s %8.3f %14.3f%s\n", r.nodes, r.pods, what,
		together(corepin, rate)/together(stock, rate), together(corepin, cost)/together(stock, cost), itself)
}

// of are the runs of one scheduler.
func (r *round) of(plugin bool) []run {
	return slices.DeleteFunc(slices.Clone(r.runs), func(r run) bool { return r.plugin != plugin })
}

// together is the rate of runs with the same work, taken as one: their harmonic mean.
func together(runs []run, rate func(run) float64) float64 {
	took := 0.0
	for _, r := range runs {
		took += 1 / rate(r)
	}
	return float64(len(runs)) / took
}

// calls are the times of the plugins' calls, the means of all runs with corepin.
func calls(rounds []round) string {
	type row struct {
		nodes        int
		pods, plugin string
	}
	var order []row
	values := map[row]map[string][]float64{}
	for _, round := range rounds {
		for _, plugin := range plugins {
			at := row{round.nodes, round.pods, plugin}
			if values[at] == nil {
				order = append(order, at)
				values[at] = map[string][]float64{}
			}
			for _, r := range round.of(true) {
				for point, us := range r.Points[plugin] {
					values[at][point] = append(values[at][point], us)
				}
			}
		}
	}
	var b strings.Builder
	b.WriteString("\nwith corepin: microseconds for each call of a plugin, the framework's clock included; beside ours two stock ones\n")
	fmt.Fprintf(&b, "%6s %-10s %-18s", "nodes", "pods", "plugin")
	for _, point := range pluginPoints {
		fmt.Fprintf(&b, " %10s", point)
	}
	b.WriteString("\n")
	for _, at := range order {
		fmt.Fprintf(&b, "%6d %-10s %-18s", at.nodes, at.pods, at.plugin)
		for _, point := range pluginPoints {
			fmt.Fprintf(&b, " %10s", mean(values[at][point]))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func mean(values []float64) string {
	if len(values) == 0 {
		return "-"
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return fmt.Sprintf("%.2f", sum/float64(len(values)))
}

// host names the machine.
func host() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(text), "\n") {
			if name, found := strings.CutPrefix(line, "model name"); found {
				model = strings.Trim(name, "\t: ")
				break
			}
		}
	}
	return fmt.Sprintf("%d CPUs (%s), %s", runtime.NumCPU(), model, runtime.Version())
}
