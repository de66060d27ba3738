// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

func TestSiblings(t *testing.T) {
	smt := cputopology.MustParse("1 sockets x 1 numa x 4 cores x 2 threads") // cores 0,4 1,5 2,6 3,7
	for name, tc := range map[string]struct {
		cpus, others, want string
	}{
		"whole cores":     {"2-3,6-7", "", ""},
		"half of a core":  {"2-3,6", "", "7 are in the shared pool"},
		"between two VMs": {"2-3", "7", "6 are in the shared pool, 7 are granted to other containers"},
		"not of the host": {"8", "", ""},
	} {
		grants := Grants{"db": {"compute": set(tc.cpus)}, "other": {"c": set(tc.others)}}
		if got := siblingsOf(set(tc.cpus), smt, grants); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	if got := siblingsOf(cpuset.Of(2), nil, nil); got != "" {
		t.Errorf("without a topology: %q", got)
	}
}
