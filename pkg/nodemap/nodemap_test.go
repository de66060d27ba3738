// SPDX-License-Identifier: Apache-2.0

package nodemap

import (
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
