// SPDX-License-Identifier: Apache-2.0

// Package nodemap draws a machine's CPUs and who holds them, core by core, for people.
//
//	s0 n0  RR AA AA BB BB .. .. ..
//	s1 n1  .. .. .. .. .. .. .. C.
//	R reserved  A vms/db  B vms/web  C vms/small  . shared pool
//
// A line is the cores of one NUMA node of one socket, in the order of their ids; a cell is a core, and
// each of its letters one CPU. So "C." is what an operator wants to see at a glance: a core that two
// parties share.
package nodemap

import (
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// Holder is somebody who holds CPUs.
type Holder struct {
	Name string
	CPUs cpuset.Set
}

const (
	reservedMark = 'R'
	sharedMark   = '.'
	clashMark    = '!'
	otherMark    = '#'
	coresPerLine = 16
)

// letters mark holders in their order; R is left out, since it marks reserved CPUs. Holders beyond
// them share one mark.
const letters = "ABCDEFGHIJKLMNOPQSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// Draw gives the map, one line per NUMA node and socket (more where a NUMA node has over 16 cores) and
// a legend. A CPU that two holders claim is drawn as "!".
func Draw(machine *cputopology.Topology, reserved cpuset.Set, holders []Holder) string {
	marks := map[int]rune{}
	for id := range reserved.All() {
		marks[id] = reservedMark
	}
	for i, holder := range holders {
		for id := range holder.CPUs.All() {
			_, taken := marks[id]
			if taken {
				marks[id] = clashMark
				continue
			}
			marks[id] = markOf(i)
		}
	}
	var b strings.Builder
	for _, row := range rows(machine) {
		fmt.Fprintf(&b, "s%d n%d ", row[0].Socket, row[0].NUMANode)
		for _, core := range row {
			b.WriteByte(' ')
			for id := range core.CPUs.All() {
				mark, held := marks[id]
				if !held {
					mark = sharedMark
				}
				b.WriteRune(mark)
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString(legend(reserved, holders))
	return b.String()
}

func markOf(holder int) rune {
	if holder < len(letters) {
		return rune(letters[holder])
	}
	return otherMark
}

// rows groups the cores by socket and NUMA node and cuts long groups.
func rows(machine *cputopology.Topology) [][]cputopology.Core {
	var groups [][]cputopology.Core
	for _, core := range machine.Cores() {
		i := slices.IndexFunc(groups, func(g []cputopology.Core) bool {
			return g[0].Socket == core.Socket && g[0].NUMANode == core.NUMANode
		})
		if i < 0 {
			groups = append(groups, []cputopology.Core{core})
			continue
		}
		groups[i] = append(groups[i], core)
	}
	slices.SortStableFunc(groups, func(a, b []cputopology.Core) int {
		if a[0].Socket != b[0].Socket {
			return a[0].Socket - b[0].Socket
		}
		return a[0].NUMANode - b[0].NUMANode
	})
	var cut [][]cputopology.Core
	for _, group := range groups {
		cut = slices.AppendSeq(cut, slices.Chunk(group, coresPerLine))
	}
	return cut
}

func legend(reserved cpuset.Set, holders []Holder) string {
	var parts []string
	if !reserved.IsEmpty() {
		parts = append(parts, "R reserved")
	}
	for i, holder := range holders {
		if i == len(letters) {
			parts = append(parts, fmt.Sprintf("# %d others", len(holders)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%c %s", markOf(i), holder.Name))
	}
	parts = append(parts, ". shared pool")
	return strings.Join(parts, "  ") + "\n"
}
