// SPDX-License-Identifier: Apache-2.0

package cpumanager

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestCombinations(t *testing.T) {
	for _, tc := range []struct {
		n, k int
		want string
	}{
		{3, 2, "[0 1] [0 2] [1 2]"}, {3, 3, "[0 1 2]"}, {2, 3, ""}, {3, 0, ""}, {3, 1, "[0] [1] [2]"},
	} {
		var got []string
		combinations(tc.n, tc.k, func(places []int) bool {
			got = append(got, fmt.Sprint(places))
			return true
		})
		if text := strings.Join(got, " "); text != tc.want {
			t.Errorf("%d of %d: %s, want %s", tc.k, tc.n, text, tc.want)
		}
	}
}

// TestKept builds combinations by append, as the kubelet does, and keeps every one of them: kept must
// foretell what becomes of each.
func TestKept(t *testing.T) {
	const n = 9
	for k := 1; k <= n; k++ {
		var theirs [][]int
		var ours []kept
		var build func(from int, prefix []int)
		build = func(from int, prefix []int) {
			if len(prefix) == k {
				for _, other := range ours {
					other.overwrite(prefix)
				}
				theirs, ours = append(theirs, prefix), append(ours, slices.Clone(prefix))
				return
			}
			for i := from; i <= n-(k-len(prefix)); i++ {
				build(i+1, append(prefix, i))
			}
		}
		build(0, []int{})
		for i := range ours {
			if !slices.Equal(ours[i], theirs[i]) {
				t.Fatalf("%d of %d, number %d: kept as %v, append makes it %v", k, n, i, ours[i], theirs[i])
			}
		}
	}
}
