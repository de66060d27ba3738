package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	perf "k8s.io/kubernetes/test/integration/scheduler_perf"

	"corepin.dev/corepin/scheduler/dedicatedcpu"
)

// result is what came of one case at one size.
type result struct {
	*scenario
	nodes, refused int
	throughput     float64            // pods per second, from the first to the last
	attemptP99     float64            // milliseconds that a scheduling attempt takes
	filter, score  float64            // microseconds that all plugins together take for a pod
	heap           float64            // MB at most, API server included
	points         map[string]float64 // microseconds of the plugin, by extension point
}

// pluginPoints are the extension points of the plugin that a cycle calls, in order.
var pluginPoints = []string{"PreFilter", "Filter", "PreScore", "Score", "PostBind"}

func newResult(c *scenario, nodes int, items []perf.DataItem, w *world) result {
	r := result{scenario: c, nodes: nodes, refused: int(w.refused.Load()), throughput: w.agents.throughput(), points: map[string]float64{}}
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
			if item.Labels["plugin"] == dedicatedcpu.Name {
				r.points[item.Labels["extension_point"]] = us * item.Data["Average"]
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
	b.WriteString("\nplugin DedicatedCPU, microseconds for each call, the framework's clock included\n")
	fmt.Fprintf(&b, "%6s %-10s", "nodes", "pods")
	for _, point := range pluginPoints {
		fmt.Fprintf(&b, " %12s", point)
	}
	b.WriteString("\n")
	for i := range results {
		if r := &results[i]; r.plugin {
			fmt.Fprintf(&b, "%6d %-10s", r.nodes, r.pods)
			for _, point := range pluginPoints {
				fmt.Fprintf(&b, " %12s", cell(r.points, point))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func cell(points map[string]float64, point string) string {
	if value, ok := points[point]; ok {
		return fmt.Sprintf("%.2f", value)
	}
	return "not called"
}

// beside is the stock scheduler's result on the same pods and nodes.
func beside(results []result, r *result) *result {
	for i := range results {
		if s := &results[i]; !s.plugin && s.pods == r.pods && s.nodes == r.nodes {
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
