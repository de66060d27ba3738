// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// table says what was measured, on what and when.
func table(results []result, measured bench) string {
	var b strings.Builder
	fmt.Fprintf(&b, "bench-packing, %s, %s\n", time.Now().Format("2006-01-02"), host())
	fmt.Fprintf(&b, "%d nodes with %d CPUs for VMs; %d seeds of each trace; kubelets and schedulers v1.36.3\n", measured.nodes, results[0].capacity.cpus, measured.seeds)
	if measured.apart {
		fmt.Fprintf(&b, "VMs come in applications of %d, and prefer hosts without another VM of their application\n", appSize)
	}
	if measured.devices {
		fmt.Fprintf(&b, "memory manager policy Static; %d VFs, %d huge pages of 1 GiB\n", results[0].capacity.vfs, results[0].capacity.pages)
	}
	for _, m := range measured.machines() {
		fmt.Fprintf(&b, "  %s: %s\n", m.name, m.topology)
	}
	for _, c := range classes {
		fmt.Fprintf(&b, "\ntrace %s\n", c.name)
		fmt.Fprintf(&b, "%-28s| %-47s| %-43s| %-35s| %-13s| %-20s| %s\n", "", "fill: VMs come and stay", "churn asking for 85 of 100 CPUs", "churn asking for 115 of 100", "with retries", "pairs on one host, %", "kubelets restarted")
		fmt.Fprintf(&b, "%-28s| %-14s %-14s %8s %8s| %10s %6s %9s %9s %5s| %10s %6s %9s %7s| %-13s| %-20s| %s\n", "",
			"first failure", "at the end", "stranded", "refused", "refused", "", "CPUs", "stranded", "uneven", "refused", "", "CPUs", "stranded", "refused", "fill, churn", "VMs lost after fill")
		fmt.Fprintf(&b, "%-28s| %5s %8s %5s %8s %8s %8s| %10s %6s %9s %9s %5s| %10s %6s %9s %7s| %-13s| %-20s|\n", "",
			"VMs", "CPUs", "VMs", "CPUs", "CPUs", "/1000", "/1000", "", "running", "CPUs", "%", "/1000", "", "running", "CPUs", "/1000", "")
		for i := range results {
			if results[i].class == c.name {
				line(&b, &results[i])
			}
		}
		if measured.devices {
			furnished(&b, &c, results)
		}
	}
	return b.String() + comparison(results)
}

func line(b *strings.Builder, r *result) {
	low, high := r.churn[phases[1].name], r.churn[phases[3].name]
	again := "none"
	if !r.ours {
		again = fmt.Sprintf("%.0f", r.retried.perThousand())
	}
	fmt.Fprintf(b, "%-28s| %5.0f %8.0f %5.0f %8.0f %8.0f %8.0f| %10.0f %6s %9.0f %9.0f %5.1f| %10.0f %6s %9.0f %8.0f| %-13s| %-20s| %.0f\n", r.contender,
		r.firstVMs, r.firstCPUs, r.fill.vms, r.fill.cpus, r.fill.stranded, r.fill.perThousand(),
		low.perThousand(), "", low.cpus, low.stranded, low.uneven, high.perThousand(), "", high.cpus, high.stranded, again, fmt.Sprintf("%.0f, %.0f", r.fill.onOneHost(), low.onOneHost()), r.lost)
}

// furnished is the table of VFs and huge pages of a class.
func furnished(b *strings.Builder, c *class, results []result) {
	fmt.Fprintf(b, "%-28s| %-31s| %-23s| %-23s\n", "in use of all, %", "at the end of a fill", "at 85 of 100", "at 115 of 100")
	fmt.Fprintf(b, "%-28s| %7s %9s %13s| %7s %15s| %7s %15s\n", "", "CPUs", "VFs", "huge pages", "VFs", "huge pages", "VFs", "huge pages")
	for i := range results {
		r := &results[i]
		if r.class != c.name {
			continue
		}
		of := func(part float64, all int) float64 { return 100 * part / float64(max(1, all)) }
		low, high := r.churn[phases[1].name], r.churn[phases[3].name]
		fmt.Fprintf(b, "%-28s| %7.1f %9.1f %13.1f| %7.1f %15.1f| %7.1f %15.1f\n", r.contender,
			of(r.fill.cpus, r.capacity.cpus), of(r.fill.vfs, r.capacity.vfs), of(r.fill.pages, r.capacity.pages),
			of(low.vfs, r.capacity.vfs), of(low.pages, r.capacity.pages), of(high.vfs, r.capacity.vfs), of(high.pages, r.capacity.pages))
	}
}

// placed are the CPUs that a contender placed on a class, by where.
func (r *result) placed() map[string]float64 {
	return map[string]float64{
		"at the end of a fill":  r.fill.cpus,
		"running at 85 of 100":  r.churn[phases[1].name].cpus,
		"running at 115 of 100": r.churn[phases[3].name].cpus,
	}
}

// withinDice is how far figures differ from run to run, see the package comment.
const withinDice = 0.002

// comparison compares the default strategy, the first of corepin's, with every other contender.
func comparison(results []result) string {
	var b strings.Builder
	b.WriteString("\nCPUs placed by the default strategy, against the best other contender:\n")
	for _, c := range classes {
		var ours *result
		for i := range results {
			if results[i].class == c.name && results[i].ours && ours == nil {
				ours = &results[i]
			}
		}
		for _, where := range []string{"at the end of a fill", "running at 85 of 100", "running at 115 of 100"} {
			best, who := 0.0, ""
			for i := range results {
				if r := &results[i]; r.class == c.name && r != ours && r.placed()[where] > best {
					best, who = r.placed()[where], r.contender
				}
			}
			own, word := ours.placed()[where], "fewer"
			switch {
			case own >= best*(1+withinDice):
				word = "more"
			case own >= best*(1-withinDice):
				word = "the same, within the dice"
			}
			fmt.Fprintf(&b, "  %-6s %-22s %6.0f against %6.0f (%s): %s\n", c.name, where, own, best, who, word)
		}
	}
	return b.String()
}

// judge is an error if a kubelet refused a pod that corepin bound.
func judge(results []result) error {
	for i := range results {
		if r := &results[i]; r.ours && r.everRefused > 0 {
			return fmt.Errorf("%s on trace %s: kubelets refused %d pods, and should refuse none", r.contender, r.class, r.everRefused)
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
