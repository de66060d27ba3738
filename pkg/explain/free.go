// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// Free is what a NUMA node has to give.
type Free struct {
	NUMANode int `json:"numaNode"`
	// CPUs are free, of so many.
	CPUs int `json:"cpus"`
	Of   int `json:"of"`
	// WholeCores have all their CPUs free, PartCores some.
	WholeCores int `json:"wholeCores"`
	PartCores  int `json:"partCores"`
}

// freeOf counts the free CPUs of each NUMA node that has CPUs.
func freeOf(machine *cputopology.Topology, free cpuset.Set) []Free {
	var rooms []Free
	for _, numa := range machine.NUMANodes() {
		room := Free{NUMANode: numa.ID, CPUs: numa.CPUs.Intersect(free).Len(), Of: numa.CPUs.Len()}
		for _, core := range machine.Cores() {
			switch {
			case core.NUMANode != numa.ID || !core.CPUs.Overlaps(free):
			case core.CPUs.SubsetOf(free):
				room.WholeCores++
			default:
				room.PartCores++
			}
		}
		if room.Of > 0 {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

// mostRooms is how many NUMA nodes are listed one by one. Of the others only the largest count is given.
const mostRooms = 4

// freeText says what is free: "6 free CPUs in NUMA node 0 as 2 whole cores + 2 half cores, 0 in NUMA node 1".
func freeText(rooms []Free, threads int) string {
	told := slices.Clone(rooms)
	slices.SortStableFunc(told, func(a, b Free) int { return cmp.Compare(b.CPUs, a.CPUs) })
	var parts []string
	for i, room := range told {
		if i == mostRooms && len(told) > mostRooms+1 {
			parts = append(parts, fmt.Sprintf("at most %d in each of %d more", room.CPUs, len(told)-i))
			break
		}
		text := fmt.Sprint(room.CPUs)
		if i == 0 {
			text = count(room.CPUs, "free CPU")
		}
		if len(rooms) > 1 {
			text += fmt.Sprintf(" in NUMA node %d", room.NUMANode)
		}
		parts = append(parts, text+room.cores(threads))
	}
	return strings.Join(parts, ", ")
}

// cores says how the free CPUs make cores: " as 2 whole cores + 1 half core".
func (f Free) cores(threads int) string {
	if threads == 1 || f.CPUs == 0 {
		return ""
	}
	var parts []string
	if f.WholeCores > 0 {
		parts = append(parts, count(f.WholeCores, "whole core"))
	}
	if f.PartCores > 0 {
		part := "half core"
		if threads > 2 {
			part = "part of a core"
			if f.PartCores > 1 {
				return " as " + strings.Join(append(parts, fmt.Sprintf("parts of %d cores", f.PartCores)), " + ")
			}
		}
		parts = append(parts, count(f.PartCores, part))
	}
	return " as " + strings.Join(parts, " + ")
}

// count is "1 CPU" or "5 CPUs".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// enumerate is "a", "a and b", or "a, b and c".
func enumerate(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	last := len(parts) - 1
	return strings.Join(parts[:last], ", ") + " and " + parts[last]
}
