// SPDX-License-Identifier: Apache-2.0

package cputopology

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
)

// Shape is a regular machine: every socket, NUMA node and core like the others.
type Shape struct {
	Sockets, NUMAPerSocket, CoresPerNUMA, ThreadsPerCore int
}

// Topology is the machine of this shape, numbered as Linux numbers most servers. A socket is one uncore
// cache, which is what the kubelet sees wherever the last-level cache is not split below a NUMA node.
func (s Shape) Topology() (*Topology, error) {
	numaNodes := s.Sockets * s.NUMAPerSocket
	total := numaNodes * s.CoresPerNUMA
	if s.Sockets < 1 || s.NUMAPerSocket < 1 || s.CoresPerNUMA < 1 || s.ThreadsPerCore < 1 {
		return nil, fmt.Errorf("shape %q: every number must be at least 1", s)
	}
	if s.Sockets > cpuset.MaxCPUs || s.NUMAPerSocket > cpuset.MaxCPUs || s.CoresPerNUMA > cpuset.MaxCPUs ||
		s.ThreadsPerCore > cpuset.MaxCPUs || total*s.ThreadsPerCore > cpuset.MaxCPUs {
		return nil, fmt.Errorf("shape %q: more than %d CPUs", s, cpuset.MaxCPUs)
	}
	cores := make([]Core, total)
	for i := range cores {
		numa := i / s.CoresPerNUMA
		socket := numa / s.NUMAPerSocket
		cores[i] = Core{NUMANode: numa, UncoreCache: socket, Socket: socket}
		for thread := range s.ThreadsPerCore {
			cores[i].CPUs.Add(i + thread*total)
		}
	}
	return New(cores)
}

// String gives the shape as Parse reads it.
func (s Shape) String() string {
	return fmt.Sprintf("%d sockets x %d numa x %d cores x %d threads", s.Sockets, s.NUMAPerSocket, s.CoresPerNUMA, s.ThreadsPerCore)
}

// Parse reads either text form of a machine.
func Parse(text string) (*Topology, error) {
	var t *Topology
	var err error
	if strings.Contains(text, ":") {
		t, err = parsePlaces(text)
	} else {
		t, err = parseShape(text)
	}
	if err != nil {
		return nil, fmt.Errorf("parsing machine %.80q: %w", text, err)
	}
	return t, nil
}

// MustParse is Parse for texts that stand in the code.
func MustParse(text string) *Topology {
	t, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return t
}

func parseShape(text string) (*Topology, error) {
	var shape Shape
	fields := []struct {
		unit  string
		value *int
	}{
		{"socket", &shape.Sockets}, {"numa", &shape.NUMAPerSocket},
		{"core", &shape.CoresPerNUMA}, {"thread", &shape.ThreadsPerCore},
	}
	parts := strings.Split(text, " x ")
	if len(parts) != len(fields) {
		return nil, fmt.Errorf("want %q", Shape{2, 1, 16, 2})
	}
	for i, part := range parts {
		number, unit, _ := strings.Cut(strings.TrimSpace(part), " ")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || strings.TrimSuffix(strings.TrimSpace(unit), "s") != fields[i].unit {
			return nil, fmt.Errorf("%q is not a number of %ss", part, fields[i].unit)
		}
		*fields[i].value = n
	}
	return shape.Topology()
}

func parsePlaces(text string) (*Topology, error) {
	var cores []Core
	var nodes []NUMANode
	for group := range strings.SplitSeq(text, ";") {
		place, list, _ := strings.Cut(group, ":")
		where, err := parsePlace(strings.Fields(place))
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(list) == "" {
			nodes = append(nodes, NUMANode{ID: where.NUMANode})
		}
		for _, cpus := range strings.Fields(list) {
			if where.CPUs, err = cpuset.Parse(cpus); err != nil {
				return nil, err
			}
			cores = append(cores, where)
		}
	}
	return New(cores, nodes...)
}

func parsePlace(fields []string) (Core, error) {
	var core Core
	for _, field := range fields {
		n, err := strconv.Atoi(field[1:])
		if err != nil || n < 0 {
			return Core{}, fmt.Errorf("%q is not a place: want s0 n0 u0", field)
		}
		switch field[0] {
		case 's':
			core.Socket = n
		case 'n':
			core.NUMANode = n
		case 'u':
			core.UncoreCache = n
		default:
			return Core{}, fmt.Errorf("%q is not a place: want s0 n0 u0", field)
		}
	}
	return core, nil
}

// String gives the machine in one line; Parse reads it back. NUMA distances are left out.
func (t *Topology) String() string {
	if shape, ok := t.shape(); ok {
		return shape.String()
	}
	cores := slices.Clone(t.cores)
	slices.SortStableFunc(cores, func(a, b Core) int {
		return cmp.Or(cmp.Compare(a.Socket, b.Socket), cmp.Compare(a.NUMANode, b.NUMANode), cmp.Compare(a.UncoreCache, b.UncoreCache))
	})
	var b strings.Builder
	last := ""
	for _, core := range cores {
		place := fmt.Sprintf("s%d n%d u%d:", core.Socket, core.NUMANode, core.UncoreCache)
		if place != last {
			if last != "" {
				b.WriteString("; ")
			}
			b.WriteString(place)
			last = place
		}
		b.WriteString(" " + core.CPUs.String())
	}
	for _, node := range t.numaNodes {
		if node.CPUs.IsEmpty() {
			fmt.Fprintf(&b, "; n%d:", node.ID)
		}
	}
	return b.String()
}

// shape is the machine's Shape if it is that of one.
func (t *Topology) shape() (Shape, bool) {
	if t == nil || len(t.cores) == 0 {
		return Shape{}, false
	}
	sockets, numa := len(t.sockets), len(t.numaNodes)
	if numa%sockets != 0 || len(t.cores)%numa != 0 {
		return Shape{}, false
	}
	shape := Shape{sockets, numa / sockets, len(t.cores) / numa, t.threadCount}
	same, err := shape.Topology()
	if err != nil || !slices.Equal(same.cores, t.cores) {
		return Shape{}, false
	}
	return shape, true
}
