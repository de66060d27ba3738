// SPDX-License-Identifier: Apache-2.0

package explain

import "testing"

func TestUnitOf(t *testing.T) {
	for name, want := range map[string]uint64{
		"memory": 1 << 20, "hugepages-1Gi": 1 << 30, "hugepages-2Mi": 2 << 20, "hugepages-": 1 << 20, "hugepages-0": 1 << 20, "hugepages-1e-2147483647": 1 << 20,
	} {
		if got := unitOf(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
