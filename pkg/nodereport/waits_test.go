// SPDX-License-Identifier: Apache-2.0

package nodereport

import "testing"

func TestWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		waits Waits
		want  string
	}{
		"none":               {Waits{}, ""},
		"one":                {Waits{1: 0.0314}, "1=3.1"},
		"in order":           {Waits{12: 0.05, 3: 1, 4: 0.118}, "3=100 4=12 12=5.0"},
		"those with most":    {manyWaits(18), "2=1.2 3=1.3 4=1.4 5=1.5 6=1.6 7=1.7 8=1.8 9=1.9 10=2.0 11=2.1 12=2.2 13=2.3 14=2.4 15=2.5 16=2.6 17=2.7 ..."},
		"as many as may be":  {manyWaits(1), "0=1.0"},
		"hardly ten percent": {Waits{0: 0.1}, "0=10"},
	} {
		got := tc.waits.String()
		if got != tc.want || len(got) > 256 {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		back, err := ParseWaits(got)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if back.String() != got && len(tc.waits) <= maxWaits {
			t.Errorf("%s: %q was read as %v", name, got, back)
		}
	}
	for _, text := range []string{"1", "1=", "=1", "a=1", "1=101", "1=-1", "1=NaN", "-1=3", "4294967296=3"} {
		got, err := ParseWaits(text)
		if err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

// manyWaits are vCPUs of which each waited a little longer than the one before.
func manyWaits(n int) Waits {
	all := Waits{}
	for id := range n {
		all[id] = 0.01 + float64(id)/1000
	}
	return all
}
