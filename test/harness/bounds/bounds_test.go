// SPDX-License-Identifier: Apache-2.0

package bounds

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// failures notes what a test would have failed with.
type failures struct {
	testing.TB
	all []string
}

func (f *failures) Helper() {}

func (f *failures) Errorf(format string, args ...any) {
	f.all = append(f.all, fmt.Sprintf(format, args...))
}

var sink []byte

func TestWithin(t *testing.T) {
	spin := func() {
		for began := CPUTime(t); CPUTime(t)-began < 20*time.Millisecond; {
		}
	}
	for name, tc := range map[string]struct {
		limits Limits
		call   func()
		want   string
	}{
		"little":    {Limits{time.Second, 1 << 20}, func() {}, ""},
		"long":      {Limits{time.Millisecond, 1 << 30}, spin, "took"},
		"much":      {Limits{time.Minute, 1 << 20}, func() { sink = make([]byte, 4<<20) }, "allocate"},
		"much, but": {Limits{time.Minute, 64 << 20}, func() { sink = make([]byte, 4<<20) }, ""},
	} {
		f := &failures{TB: t}
		Within(f, tc.limits, "input", tc.call)
		if got := strings.Join(f.all, "; "); (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
