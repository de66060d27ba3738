// SPDX-License-Identifier: Apache-2.0

package nodemap

import (
	"math"
	"regexp"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

func TestDraw(t *testing.T) {
	for _, tc := range []struct {
		name, machine string
		reserved      cpuset.Set
		holders       []Holder
		want          string
	}{
		{
			name:     "two sockets, a shared core",
			machine:  "2 sockets x 1 numa x 4 cores x 2 threads",
			reserved: cpuset.Of(0, 8),
			holders:  []Holder{{"vms/a", cpuset.Of(1, 9)}, {"vms/b", cpuset.Of(7)}},
			want:     "s0 n0  RR AA .. ..\ns1 n1  .. .. .. B.\nR reserved  A vms/a  B vms/b  . shared pool\n",
		},
		{
			name:    "a CPU held twice stands out",
			machine: "1 sockets x 1 numa x 2 cores x 1 threads",
			holders: []Holder{{"a", cpuset.Of(0)}, {"b", cpuset.Of(0, 1)}},
			want:    "s0 n0  ! B\nA a  B b  . shared pool\n",
		},
	} {
		if got := Draw(cputopology.MustParse(tc.machine), tc.reserved, tc.holders); got != tc.want {
			t.Errorf("%s:\n%swant\n%s", tc.name, got, tc.want)
		}
	}
}

func TestDrawManyHoldersAndLongRows(t *testing.T) {
	var holders []Holder
	for id := range 100 {
		holders = append(holders, Holder{"vm", cpuset.Of(id)})
	}
	got := Draw(cputopology.MustParse("1 sockets x 1 numa x 100 cores x 1 threads"), cpuset.Set{}, holders)
	if lines := strings.Count(got, "s0 n0 "); lines != 7 {
		t.Errorf("100 cores take %d lines, want 7", lines)
	}
	if !strings.Contains(got, "# 39 others") || strings.Contains(got, "R") {
		t.Errorf("legend of 100 holders:\n%s", got)
	}
}

// A terminal that is too narrow gets fewer cores on a line, and a legend of several lines. No line is too long.
func TestDrawInANarrowTerminal(t *testing.T) {
	machine := cputopology.MustParse("1 sockets x 1 numa x 16 cores x 2 threads")
	holders := []Holder{{"vms/a", cpuset.Of(1, 17)}, {"vms/b", cpuset.Of(2)}}
	for width, want := range map[int]string{
		54: "s0 n0  RR AA B. .. .. .. .. .. .. .. .. .. .. .. .. ..\nR reserved  A vms/a  B vms/b  . shared pool\n",
		53: "s0 n0  RR AA B. .. .. .. .. ..\ns0 n0  .. .. .. .. .. .. .. ..\nR reserved  A vms/a  B vms/b  . shared pool\n",
		30: "s0 n0  RR AA B. .. .. .. .. ..\ns0 n0  .. .. .. .. .. .. .. ..\nR reserved  A vms/a  B vms/b\n. shared pool\n",
		20: "s0 n0  RR AA B. ..\ns0 n0  .. .. .. ..\ns0 n0  .. .. .. ..\ns0 n0  .. .. .. ..\nR reserved  A vms/a\nB vms/b\n. shared pool\n",
	} {
		got := Style{Width: width}.Draw(machine, cpuset.Of(0, 16), holders)
		if got != want {
			t.Errorf("in %d columns:\n%swant\n%s", width, got, want)
		}
		for line := range strings.Lines(got) {
			if len(strings.TrimSuffix(line, "\n")) > width {
				t.Errorf("%q does not fit into %d columns", line, width)
			}
		}
	}
	if got := (Style{Width: 1}).Draw(machine, cpuset.Of(0, 16), holders); strings.Count(got, "s0 n0 ") != 16 {
		t.Errorf("in 1 column:\n%s", got)
	}
}

var escape = regexp.MustCompile("\x1b\\[[0-9;]*m")

// The colours are an addition: without them the map is the same.
func TestColorsAreAnAddition(t *testing.T) {
	machine := cputopology.MustParse("1 sockets x 1 numa x 100 cores x 1 threads")
	holders := []Holder{{"twice", cpuset.Of(1)}}
	for id := range 90 {
		holders = append(holders, Holder{"vm", cpuset.Of(1 + id)})
	}
	plain := Style{Width: 60}.Draw(machine, cpuset.Of(0), holders)
	colors := Style{Width: 60, Color: true}.Draw(machine, cpuset.Of(0), holders)
	if got := escape.ReplaceAllString(colors, ""); got != plain {
		t.Errorf("without its colours:\n%swant\n%s", got, plain)
	}
	for _, want := range []string{"\x1b[38;5;31mA\x1b[0m", "\x1b[38;5;64mC\x1b[0m", "\x1b[1;7m!\x1b[0m", "\x1b[38;5;244mR\x1b[0m"} {
		if !strings.Contains(colors, want) {
			t.Errorf("there is no %q in\n%q", want, colors)
		}
	}
}

// luminance is the relative luminance of one of xterm's 216 colours, as WCAG 2.1 defines it.
func luminance(color int) float64 {
	levels := []float64{0, 95, 135, 175, 215, 255}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		level := levels[(color-16)/[]int{36, 6, 1}[i]%6] / 255
		if level <= 0.03928 {
			sum += weight * level / 12.92
		} else {
			sum += weight * math.Pow((level+0.055)/1.055, 2.4)
		}
	}
	return sum
}

func TestColorsCanBeReadOnBlackAndOnWhite(t *testing.T) {
	for _, color := range palette {
		l := luminance(color)
		onBlack := (l + 0.05) / 0.05
		onWhite := 1.05 / (l + 0.05)
		if onBlack < 4 || onWhite < 4 {
			t.Errorf("colour %d has a contrast of %.1f on black and %.1f on white, want 4 on both", color, onBlack, onWhite)
		}
	}
}
