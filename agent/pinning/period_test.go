// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"strings"
	"testing"
	"time"
)

func TestPeriodOf(t *testing.T) {
	for name, tc := range map[string]struct {
		realtime   bool
		annotation string
		want       time.Duration
		err        string
	}{
		"the usual pace":            {false, "-", 0, ""},
		"realtime":                  {true, "-", time.Hour, ""},
		"events":                    {false, "events", time.Hour, ""},
		"longer":                    {false, "1m30s", 90 * time.Second, ""},
		"realtime, looked at often": {true, "4s", 4 * time.Second, ""},
		"more often":                {false, "1s", 0, `annotation corepin.dev/verify-period is "1s"; want a duration from 4s`},
		"never":                     {false, "24h", 0, "to 1h0m0s"},
		"no duration":               {true, "often", time.Hour, `or "events"; it counts as missing`},
		"empty":                     {false, "", 0, `is ""`},
		"negative":                  {false, "-4s", 0, `is "-4s"`},
		"long":                      {false, strings.Repeat("x", 1000), 0, strings.Repeat("x", 40) + `"; want`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := periodOf(tc.realtime, tc.annotation, tc.annotation != "-", 4*time.Second)
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("got error %v, want %q in it", err, tc.err)
			}
		})
	}
}
