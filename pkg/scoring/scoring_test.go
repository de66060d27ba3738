// SPDX-License-Identifier: Apache-2.0

package scoring

import (
	"slices"
	"testing"
)

func TestNormalize(t *testing.T) {
	for name, test := range map[string]struct{ ratings, want []int64 }{
		"in proportion":                {[]int64{-500, 0, -250}, []int64{60, 100, 80}},
		"all the same":                 {[]int64{-7, -7}, []int64{100, 100}},
		"one":                          {[]int64{3}, []int64{100}},
		"none predicted exactly":       {[]int64{Unrated, Unrated}, []int64{0, 0}},
		"some not predicted exactly":   {[]int64{Unrated, -10, 10}, []int64{0, 60, 100}},
		"one of two predicted exactly": {[]int64{-1 << 40, Unrated}, []int64{100, 0}},
		"no node":                      {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var scores []*int64
			for i := range test.ratings {
				scores = append(scores, &test.ratings[i])
			}
			Normalize(scores, 40)
			for i, want := range test.want {
				if got := *scores[i]; got != want {
					t.Errorf("node %d: score %d, want %d", i, got, want)
				}
			}
		})
	}
}

// The shipped weight, and what the stock plugins give a node for one preference of the user that it meets; see the package
// comment. scheduler/main_test.go holds the shipped configuration to the weight and the stock weights.
const (
	weight          = 26
	onePreference   = 200
	stockPluginsSum = 1500
	unaskedOfStock  = 60 // NodeResourcesFit and the like between two nodes, normally
)

func TestTheDefaultRangeLeavesPreferencesToUsers(t *testing.T) {
	fragmentation := weight * DefaultRange
	if fragmentation+unaskedOfStock >= onePreference {
		t.Errorf("fragmentation counts %d, and with what stock plugins add unasked it wins over a preference of %d", fragmentation, onePreference)
	}
	if fragmentation <= unaskedOfStock {
		t.Errorf("fragmentation counts %d, and loses against what stock plugins do unasked, %d", fragmentation, unaskedOfStock)
	}
	if lowest := weight * MinRated; lowest <= stockPluginsSum {
		t.Errorf("the lowest exact score counts %d, and an estimated node could have %d", lowest, stockPluginsSum)
	}
}

func TestTheRangeIsTheArguments(t *testing.T) {
	for scoreRange, want := range map[int][]int64{2: {98, 99, 100}, 4: {96, 98, 100}, 40: {60, 80, 100}} {
		ratings := []int64{-20, -10, 0}
		Normalize([]*int64{&ratings[0], &ratings[1], &ratings[2]}, scoreRange)
		for i := range want {
			if ratings[i] != want[i] {
				t.Errorf("range %d: scores %v, want %v", scoreRange, ratings, want)
			}
		}
	}
}

// With restartSafety Prefer the nodes that would lose VMs at their kubelet's restart come after all others, and fragmentation
// still counts among each.
func TestUnsafeNodesComeAfterTheOthers(t *testing.T) {
	for scoreRange, want := range map[int][]int64{2: {100, 100, 99, 98}, 5: {100, 98, 97, 95}, 40: {100, 81, 80, 60}} {
		ratings := []int64{-10, -2000, Unsafe(-10), Unsafe(-3000)}
		Normalize([]*int64{&ratings[0], &ratings[1], &ratings[2], &ratings[3]}, scoreRange)
		if !slices.Equal(ratings, want) {
			t.Errorf("range %d: scores %v, want %v", scoreRange, ratings, want)
		}
	}
	alone := []int64{Unsafe(-10), Unsafe(-20)}
	Normalize([]*int64{&alone[0], &alone[1]}, 5)
	if want := []int64{100, 95}; !slices.Equal(alone, want) {
		t.Errorf("where none is safe: scores %v, want %v", alone, want)
	}
}
