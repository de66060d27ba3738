// SPDX-License-Identifier: Apache-2.0

package cpumanager

import (
	"testing"

	"corepin.dev/corepin/pkg/cputopology"
)

// TestSteps wants a bound for every search that would not end, also for one that starts with more than 30 NUMA nodes.
func TestSteps(t *testing.T) {
	const endless = 1 << 30
	for _, tc := range []struct {
		machine         string
		numaNodes, need int
		want            string
	}{
		{"2 sockets x 4 numa x 8 cores x 2 threads", 8, 64, "few"},
		{"2 sockets x 4 numa x 8 cores x 2 threads", 8, 63, "few"},
		{"8 sockets x 4 numa x 8 cores x 2 threads", 32, 256, "endless"},
		{"8 sockets x 8 numa x 8 cores x 2 threads", 64, 1000, "endless"}, // from 63 NUMA nodes on
		{"8 sockets x 8 numa x 8 cores x 2 threads", 64, 1024, "few"},     // all 64, and equal shares
	} {
		topology, err := cputopology.Parse(tc.machine)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{DistributeCPUsAcrossNUMA: true}
		got := "few"
		if o.Steps(topology, tc.numaNodes, tc.need) > endless {
			got = "endless"
		}
		if got != tc.want {
			t.Errorf("%d CPUs of %s: %d steps, want %s", tc.need, tc.machine, o.Steps(topology, tc.numaNodes, tc.need), tc.want)
		}
	}
}
