// SPDX-License-Identifier: Apache-2.0

package version

import (
	"strings"
	"testing"
)

func TestSkew(t *testing.T) {
	for _, test := range []struct {
		scheduler, server string
		want              []string // what the text has; none is no text
	}{
		{"v1.36.3", "v1.36.0", nil},
		{"v1.36.3", "v1.36.9+rke2r1", nil},
		{"v1.35.4", "v1.36.3", nil},
		{"v1.9.0", "v1.10.0", nil},
		{"v1.37.2", "v1.36.3-eks-1234567", []string{"on Kubernetes 1.37", "API server is 1.36", "no newer", "-k1.36"}},
		{"1.10", "1.9", []string{"on Kubernetes 1.10", "API server is 1.9:", "no newer", "-k1.9"}},
		{"v1.35.4", "v1.37.2", []string{"on Kubernetes 1.35", "API server is 1.37", "one minor older", "-k1.37"}},
		// Not known.
		{"v0.0.0-master+$Format:%H$", "v1.36.3", nil},
		{"v1.36.3", "", nil},
		{"v1.36.3", "v2.0.0", nil},
		{"v1.99999999999999999999.0", "v1.36.3", nil},
	} {
		got := Skew(test.scheduler, test.server)
		if len(test.want) == 0 && got != "" {
			t.Errorf("scheduler %s, API server %s: got %q, want nothing", test.scheduler, test.server, got)
		}
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("scheduler %s, API server %s: got %q, want it to have %q", test.scheduler, test.server, got, want)
			}
		}
	}
}
