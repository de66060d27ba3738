// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// atMost names a row.
func atMost(moves int) string {
	switch moves {
	case 0:
		return "no migration"
	case 1:
		return "1 migration"
	}
	return fmt.Sprintf("%d migrations", moves)
}

// movesTable says what was measured, on what and when.
func movesTable(rows []moved, measured bench) string {
	var b strings.Builder
	fmt.Fprintf(&b, "bench-packing -moves, %s, %s\n", time.Now().Format("2006-01-02"), host())
	fmt.Fprintf(&b, "%d nodes with %d CPUs for VMs; %d seeds of each trace; kubelets and scheduler v1.36.3; %d placements in a search at most\n", measured.nodes, measured.milli()/1000, measured.seeds, measured.placements)
	for _, m := range measured.machines() {
		fmt.Fprintf(&b, "  %s: %s\n", m.name, m.topology)
	}
	b.WriteString("VMs, CPUs: those that got a node. Helped: VMs that got one after live migrations, which are moves. Left: VMs that got none, though all nodes\n" +
		"together had the CPUs. Bound: all nodes as one. Searches are also those for VMs that came before the phases that are shown.\n")
	for _, c := range classes {
		fmt.Fprintf(&b, "\ntrace %s\n", c.name)
		came := func(part string) int {
			at := slices.IndexFunc(rows, func(r moved) bool { return r.class == c.name })
			return rows[at].parts[part].came
		}
		fmt.Fprintf(&b, "%-13s| %-32s| %-32s| %-32s| %s\n", "for a VM at", "fill", "churn, 85 of 100 CPUs", "churn, 115 of 100 CPUs", "searches, CPU time in ms")
		fmt.Fprintf(&b, "%-13s", "most")
		for _, part := range parts {
			fmt.Fprintf(&b, "| %-32s", fmt.Sprintf("%d VMs came", came(part)))
		}
		b.WriteString("|\n")
		fmt.Fprintf(&b, "%-13s", "")
		for range parts {
			fmt.Fprintf(&b, "| %5s %7s %6s %5s %5s", "VMs", "CPUs", "helped", "moves", "left")
		}
		fmt.Fprintf(&b, "| %5s %6s %8s %6s %8s\n", "all", "mean", "longest", "cut", "in all")
		for i := range rows {
			if rows[i].class == c.name {
				b.WriteString(rows[i].line())
			}
		}
	}
	return b.String()
}

func (r *moved) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-13s", r.name)
	for _, part := range parts {
		g := r.parts[part]
		fmt.Fprintf(&b, "| %5d %7d %6d %5d %5d", g.vms, g.cpus, g.helped, g.moves, g.left)
	}
	if r.count == 0 {
		return b.String() + "|\n"
	}
	mean := r.spent / time.Duration(r.count)
	fmt.Fprintf(&b, "| %5d %6d %8d %6d %8d\n", r.count, mean.Milliseconds(), r.longest.Milliseconds(), r.cut, r.spent.Milliseconds())
	return b.String()
}
