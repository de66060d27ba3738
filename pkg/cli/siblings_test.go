// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/nodereport"
)

func TestSiblings(t *testing.T) {
	cpus := func(list string) map[string]cpuset.Set {
		set, err := cpuset.Parse(list)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]cpuset.Set{"compute": set}
	}
	const smt = "1 sockets x 1 numa x 4 cores x 2 threads" // cores 0,4 1,5 2,6 3,7
	for name, tc := range map[string]struct {
		machine string
		granted map[types.UID]map[string]cpuset.Set
		want    string
	}{
		"nobody":             {smt, nil, ""},
		"whole cores":        {smt, map[types.UID]map[string]cpuset.Set{"a": cpus("1-2,5-6")}, ""},
		"half of a core":     {smt, map[types.UID]map[string]cpuset.Set{"a": cpus("1-2,5")}, "1 of 3 granted CPUs share a core: 2 with the shared pool or reserved CPUs"},
		"between two pods":   {smt, map[types.UID]map[string]cpuset.Set{"a": cpus("1"), "b": cpus("5")}, "2 of 2 granted CPUs share a core: 1,5 with another pod"},
		"one of each":        {smt, map[types.UID]map[string]cpuset.Set{"a": cpus("1-2"), "b": cpus("5")}, "3 of 3 granted CPUs share a core: 2 with the shared pool or reserved CPUs; 1,5 with another pod"},
		"two containers":     {smt, map[types.UID]map[string]cpuset.Set{"a": {"compute": cpuset.Of(1), "sidecar": cpuset.Of(5)}}, ""},
		"no hardware thread": {"1 sockets x 1 numa x 4 cores x 1 threads", map[types.UID]map[string]cpuset.Set{"a": cpus("1-2")}, ""},
		"four threads":       {"1 sockets x 1 numa x 2 cores x 4 threads", map[types.UID]map[string]cpuset.Set{"a": cpus("1"), "b": cpus("3")}, "2 of 2 granted CPUs share a core: 1,3 with the shared pool or reserved CPUs; 1,3 with another pod"},
	} {
		report := reportOf(t, "n", tc.machine, "none", tc.granted)
		m := &machine{report: nodereport.Read(&report)}
		got := m.siblings()
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
