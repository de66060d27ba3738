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

// result is what came of one case at one size.
type result struct {
	*scenario
	nodes, refused int
	round          int
	throughput     float64                       // pods per second, from the first to the last
	attemptP99     float64                       // milliseconds that a scheduling attempt takes
	filter, score  float64                       // microseconds that all plugins together take for a pod
	heap           float64                       // MB at most, API server included
	points         map[string]map[string]float64 // microseconds of a call, by plugin and extension point
}

// plugins are ours and two of the stock ones, to compare with: NodeUnschedulable reads two fields of a node, so what it
// takes is what the framework's clock and a busy machine add to each; NodeResourcesFit counts.
var plugins = []string{dedicatedcpu.Name, "NodeUnschedulable", "NodeResourcesFit"}

// pluginPoints are the extension points of the plugin that a cycle calls, in order.
var pluginPoints = []string{"PreFilter", "Filter", "PreScore", "Score", "PostBind"}

func newResult(c *scenario, nodes int, items []perf.DataItem, w *world) result {
	r := result{scenario: c, nodes: nodes, refused: int(w.refused.Load()), throughput: w.agents.throughput(), points: map[string]map[string]float64{}}
	for _, plugin := range plugins {
		r.points[plugin] = map[string]float64{}
	}
	for _, item := range items {
		const us = 1000 // the items are in milliseconds
		switch item.Labels["Metric"] {
		case "heap_memory_usage":
			r.heap = item.Data["Max"]
		case "scheduler_scheduling_attempt_duration_seconds":
			if item.Labels["result"] == "scheduled" {
				r.attemptP99 = item.Data["Perc99"]
			}
		case "scheduler_framework_extension_point_duration_seconds":
			switch item.Labels["extension_point"] {
			case "Filter":
				r.filter = us * item.Data["Average"]
			case "Score":
				r.score = us * item.Data["Average"]
			}
		case "scheduler_plugin_execution_duration_seconds":
			if points := r.points[item.Labels["plugin"]]; points != nil {
				points[item.Labels["extension_point"]] = us * item.Data["Average"]
			}
		}
	}
	return r
}

// table says what was measured, on what and when.
func table(results []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "bench-scale, %s, %s; etcd, API server, scheduler and the stand-in for agents share it\n", time.Now().Format("2006-01-02"), host())
	fmt.Fprintf(&b, "nodes: %s, full-pcpus-only, single-numa-node; %d pods for each node, made as fast as can be; scheduler_perf v1.36.3\n", machine, podsPerNode)
	b.WriteString("attempt p99: milliseconds of a scheduling attempt; Filter, Score: microseconds of all plugins for a pod; heap: MB, API server included\n\n")
	fmt.Fprintf(&b, "%6s %-10s %-8s %9s %6s %12s %10s %10s %6s %9s\n", "nodes", "pods", "", "pods/s", "ratio", "attempt p99", "Filter us", "Score us", "heap", "refused")
	for i := range results {
		r := &results[i]
		ratio := ""
		if stock := beside(results, r); r.plugin && stock != nil {
			ratio = fmt.Sprintf("%.2f", r.throughput/stock.throughput)
		}
		fmt.Fprintf(&b, "%6d %-10s %-8s %9.1f %6s %12.2f %10.0f %10.0f %6.0f %9d\n",
			r.nodes, r.pods, r.scheduler(), r.throughput, ratio, r.attemptP99, r.filter, r.score, r.heap, r.refused)
	}
	b.WriteString(medians(results))
	b.WriteString("\nwith corepin: microseconds for each call of a plugin, the framework's clock included; beside ours two stock ones\n")
	fmt.Fprintf(&b, "%6s %-10s %-18s", "nodes", "pods", "plugin")
	for _, point := range pluginPoints {
		fmt.Fprintf(&b, " %10s", point)
	}
	b.WriteString("\n")
	for i := range results {
		for _, plugin := range plugins {
			r := &results[i]
			if !r.plugin {
				break
			}
			fmt.Fprintf(&b, "%6d %-10s %-18s", r.nodes, r.pods, plugin)
			for _, point := range pluginPoints {
				fmt.Fprintf(&b, " %10s", cell(r.points[plugin], point))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// medians are the medians of the ratios, where there is more than one round.
func medians(results []result) string {
	ratios := map[string][]float64{}
	var order []string
	for i := range results {
		r := &results[i]
		stock := beside(results, r)
		if !r.plugin || stock == nil {
			continue
		}
		of := fmt.Sprintf("%d nodes, %s", r.nodes, r.pods)
		if ratios[of] == nil {
			order = append(order, of)
		}
		ratios[of] = append(ratios[of], r.throughput/stock.throughput)
	}
	var b strings.Builder
	for _, of := range order {
		if all := slices.Sorted(slices.Values(ratios[of])); len(all) > 1 {
			fmt.Fprintf(&b, "%s: median ratio of %d rounds %.2f\n", of, len(all), all[len(all)/2])
		}
	}
	return b.String()
}

func cell(points map[string]float64, point string) string {
	if value, ok := points[point]; ok {
		return fmt.Sprintf("%.2f", value)
	}
	return "-"
}

// beside is the stock scheduler's result on the same pods and nodes.
func beside(results []result, r *result) *result {
	for i := range results {
		if s := &results[i]; !s.plugin && s.pods == r.pods && s.nodes == r.nodes && s.round == r.round {
			return s
		}
	}
	return nil
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
