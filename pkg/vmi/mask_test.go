// SPDX-License-Identifier: Apache-2.0

package vmi

import "testing"

// What KubeVirt reads as a mask and what it does not; whether it means anything to this guest is ours to say.
func TestBadMask(t *testing.T) {
	for mask, good := range map[string]bool{
		"": true, "0": true, "0-3": true, "0-2, 5": true, "^1,0-2, 3-6,^4 ": true, "0-0": true, "1,^1,2": true,
		"  ": false, "1-": false, "-1": false, "a": false, "0,": false, "3-0": false, "8": false, "0-8": false, "^0": false,
		"1,^1": false, "0-999999999": false, "99999999999": false, "^": false, "0--1": false,
	} {
		if why := badMask(mask, 8); (why == "") != good {
			t.Errorf("mask %q: %q", mask, why)
		}
	}
}
