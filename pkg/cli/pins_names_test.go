// SPDX-License-Identifier: Apache-2.0

package cli

import "testing"

func TestNames(t *testing.T) {
	for name, test := range map[string]struct {
		message, vm string
		want        bool
	}{
		"its own":              {"VM vms/db: vCPU 0: 2 → 3", "vms/db", true},
		"a longer name":        {"VM vms/db-2: vCPU 0: 2 → 3", "vms/db", false},
		"a longer name first":  {"VM vms/db-2: vCPU 0: 2 → 3; VM vms/db: vCPU 1: 6 → 7", "vms/db", true},
		"with another":         {"VM vms/web shares CPU 2 with VM vms/db", "vms/db", true},
		"in namespace default": {"VM default/db: vCPU 0: 2 → 3", "db", true},
		"of another namespace": {"VM vms/db: vCPU 0: 2 → 3", "db", false},
	} {
		if got := names(test.message, test.vm); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}
