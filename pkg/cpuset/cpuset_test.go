// SPDX-License-Identifier: Apache-2.0

package cpuset

import (
	"strings"
	"testing"

	k8scpuset "k8s.io/utils/cpuset"

	"corepin.dev/corepin/test/harness/bounds"
)

func TestParseAndString(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", ""},
		{"\n", ""},
		{"0", "0"},
		{"3,1,2", "1-3"},
		{"0-3,8,10-11\n", "0-3,8,10-11"},
		{"63-64,127-128,1791", "63-64,127-128,1791"},
		{"5,5,5", "5"},
	} {
		got, err := Parse(tc.text)
		if err != nil || got.String() != tc.want {
			t.Errorf("Parse(%q) = %q, %v; want %q", tc.text, got, err, tc.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"a", `"a" is not a CPU id`},
		{"1,,2", `"" is not a CPU id`},
		{"-1", `"" is not a CPU id`},
		{"3-1", "ends before it begins"},
		{"1-2-3", `"2-3" is not a CPU id`},
		{"0-1792", "above 1791"},
		{"99999999999999999999", "is not a CPU id"},
		{strings.Repeat("x", 5000), "…"},
	} {
		_, err := Parse(tc.text)
		if err == nil || !strings.Contains(err.Error(), tc.want) || len(err.Error()) > 300 {
			t.Errorf("Parse(%.20q): %v; want a short error with %q", tc.text, err, tc.want)
		}
	}
}

func TestOperations(t *testing.T) {
	a, b := Of(0, 1, 64, 1791), Of(1, 64, 65)
	for _, tc := range []struct {
		name string
		got  Set
		want string
	}{
		{"union", a.Union(b), "0-1,64-65,1791"},
		{"intersect", a.Intersect(b), "1,64"},
		{"minus", a.Minus(b), "0,1791"},
	} {
		if tc.got.String() != tc.want {
			t.Errorf("%s = %q, want %q", tc.name, tc.got, tc.want)
		}
	}
	if a.Len() != 4 || a.First() != 0 || a.Next(2) != 64 || a.Next(65) != 1791 || a.Next(1792) != -1 {
		t.Errorf("Len, First or Next is wrong for %v", a)
	}
	if !Of(1).SubsetOf(b) || a.SubsetOf(b) || !a.Overlaps(b) || a.Overlaps(Of(2)) || !(Set{}).IsEmpty() {
		t.Error("SubsetOf, Overlaps or IsEmpty is wrong")
	}
	if _, err := New(1792); err == nil {
		t.Error("New accepted an id that a Set cannot hold")
	}
	a.Add(-1)
	a.Add(MaxCPUs)
	if a.Has(-1) || a.Has(MaxCPUs) || a.Len() != 4 {
		t.Error("an id out of range changed the set")
	}
}

// The kubelet writes CPU lists with k8s.io/utils/cpuset: whatever that accepts within our range we
// must read as the same set.
func FuzzParseAgreesWithTheKubelets(f *testing.F) {
	for _, seed := range []string{"", "0-3,8", "1,0", "5-5", "0-1791", "1-", ",", "0x1", " 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got Set
		var err error
		bounds.Within(t, bounds.Parser, text, func() { got, err = Parse(text) })
		if err != nil {
			return
		}
		again, err := Parse(got.String())
		if err != nil || again != got {
			t.Fatalf("Parse(String()) of %q: %q, %v", text, again, err)
		}
		theirs, err := k8scpuset.Parse(strings.TrimSpace(text))
		if err == nil && theirs.String() != got.String() {
			t.Fatalf("Parse(%q) = %q, the kubelet's is %q", text, got, theirs)
		}
	})
}
