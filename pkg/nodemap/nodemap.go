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
	"unicode/utf8"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// Holder is somebody who holds CPUs.
type Holder struct {
	Name string
	CPUs cpuset.Set
}

const (
	reservedMark    = 'R'
	sharedMark      = '.'
	clashMark       = '!'
	otherMark       = '#'
	maxCoresPerLine = 16
)

// letters mark holders in their order; R is left out, since it marks reserved CPUs. Holders beyond
// them share one mark.
const letters = "ABCDEFGHIJKLMNOPQSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// Style says how a map is drawn. The zero value draws lines of 16 cores, without colours.
type Style struct {
	// Width is how many characters fit on a line; 0 where that is not known. A line has at least one core and one name.
	Width int
	// Color adds colours to the letters, as escape sequences of a terminal. The letters stay.
	Color bool
}

// Draw gives the map, one line per NUMA node and socket (more where a NUMA node has over 16 cores) and
// a legend. A CPU that two holders claim is drawn as "!".
func Draw(machine *cputopology.Topology, reserved cpuset.Set, holders []Holder) string {
	return Style{}.Draw(machine, reserved, holders)
}

// Draw is Draw in a style.
func (s Style) Draw(machine *cputopology.Topology, reserved cpuset.Set, holders []Holder) string {
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
	for _, row := range rows(machine, s.coresPerLine(machine)) {
		b.WriteString(place(&row[0]))
		for _, core := range row {
			b.WriteByte(' ')
			for id := range core.CPUs.All() {
				mark, held := marks[id]
				if !held {
					mark = sharedMark
				}
				b.WriteString(s.letter(mark))
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString(s.legend(reserved, holders))
	return b.String()
}

// place begins a line: the socket and the NUMA node of its cores.
func place(core *cputopology.Core) string { return fmt.Sprintf("s%d n%d ", core.Socket, core.NUMANode) }

// coresPerLine is how many cores a line has: a power of two, so that the lines of a NUMA node are alike.
func (s Style) coresPerLine(machine *cputopology.Topology) int {
	if s.Width == 0 {
		return maxCoresPerLine
	}
	head := 0
	cell := 0
	for _, core := range machine.Cores() {
		head = max(head, len(place(&core)))
		cell = max(cell, 1+core.CPUs.Len())
	}
	cores := maxCoresPerLine
	for cores > 1 && head+cores*cell > s.Width {
		cores /= 2
	}
	return cores
}

func markOf(holder int) rune {
	if holder < len(letters) {
		return rune(letters[holder])
	}
	return otherMark
}

// rows groups the cores by socket and NUMA node and cuts long groups.
func rows(machine *cputopology.Topology, coresPerLine int) [][]cputopology.Core {
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

// legend says who the letters are, on as many lines as it takes.
func (s Style) legend(reserved cpuset.Set, holders []Holder) string {
	var b strings.Builder
	used := 0
	add := func(mark rune, name string) {
		const gap = "  "
		length := len("A ") + utf8.RuneCountInString(name)
		switch {
		case used == 0:
		case s.Width > 0 && used+len(gap)+length > s.Width:
			b.WriteByte('\n')
			used = 0
		default:
			b.WriteString(gap)
			used += len(gap)
		}
		b.WriteString(s.letter(mark) + " " + name)
		used += length
	}
	if !reserved.IsEmpty() {
		add(reservedMark, "reserved")
	}
	for i, holder := range holders {
		if i == len(letters) {
			add(otherMark, fmt.Sprintf("%d others", len(holders)-i))
			break
		}
		add(markOf(i), holder.Name)
	}
	add(sharedMark, "shared pool")
	return b.String() + "\n"
}
