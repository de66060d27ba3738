package scoring

import "testing"

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
			Normalize(scores)
			for i, want := range test.want {
				if got := *scores[i]; got != want {
					t.Errorf("node %d: score %d, want %d", i, got, want)
				}
			}
		})
	}
}
