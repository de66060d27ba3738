// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	old   = module{"example.com/a", "v1.0.0", "2026-01-02T03:04:05Z"}
	newer = module{"example.com/a", "v1.0.1", "2026-02-02T03:04:05Z"}
	other = module{"example.com/b", "v0.1.0", "2025-01-02T03:04:05Z"}
)

func TestAListIsReadAsItIsWritten(t *testing.T) {
	want := list{read: "2026-03-01", database: "v0.0.0-1", modules: []module{old, other},
		known: []vulnerability{{"GO-2026-0001", old.path, old.version, "v1.0.1"}}}
	got, err := parse(string(want.text()))
	if err != nil || got.read != want.read || got.database != want.database || !slices.Equal(got.modules, want.modules) || !slices.Equal(got.known, want.known) {
		t.Errorf("got %v (err %v), want %v", got, err, want)
	}
	for _, line := range []string{"example.com/a\tv1.0.0\n", "example.com/a\tv1.0.0\tyesterday\n", "\n", "GO-2026-0001\texample.com/a\n"} {
		if _, err := parse(string(want.text()) + line); err == nil {
			t.Errorf("the line %q is no error", line)
		}
	}
}

func TestDifferences(t *testing.T) {
	for name, test := range map[string]struct {
		kept, linked []module
		want         []string // what the lines have
	}{
		"none":                  {[]module{old, other}, []module{old, other}, nil},
		"a version is new":      {[]module{old}, []module{newer}, []string{"v1.0.0 of 2026-01-02T03:04:05Z is in the list", "v1.0.1 of 2026-02-02T03:04:05Z is linked"}},
		"a module is new":       {[]module{old}, []module{old, other}, []string{"example.com/b v0.1.0 of 2025-01-02T03:04:05Z is linked"}},
		"a module is gone":      {[]module{old, other}, []module{old}, []string{"example.com/b v0.1.0 of 2025-01-02T03:04:05Z is in the list"}},
		"a time is another one": {[]module{{old.path, old.version, other.made}}, []module{old}, []string{"2025-01-02T03:04:05Z is in the list", "2026-01-02T03:04:05Z is linked"}},
	} {
		got := differences(test.kept, test.linked)
		if len(got) != len(test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: got %q, want it to have %q", name, got[i], want)
			}
		}
	}
}

func TestAge(t *testing.T) {
	now := time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC)
	if age, err := (list{read: "2026-03-01", database: "v0.0.0-1"}).age(now); err != nil || age != 10*24*time.Hour {
		t.Errorf("the age is %v (err %v), want ten days", age, err)
	}
	for _, l := range []list{{read: "yesterday", database: "v0.0.0-1"}, {read: "2026-03-01"}, {}} {
		if _, err := l.age(now); err == nil {
			t.Errorf("%v has an age", l)
		}
	}
}

// The messages are as govulncheck v1.9.0 prints them, cut to what is read.
func TestFindings(t *testing.T) {
	const scan = `{"config": {"scanner_name": "govulncheck"}}
{"osv": {"id": "GO-2026-0001"}}
`
	const repaired = `{"finding": {"osv": "GO-2026-0001", "fixed_version": "v1.0.1", "trace": [{"module": "example.com/a", "version": "v1.0.0"}]}}
`
	const guessed = `{"finding": {"osv": "GO-2026-0001", "trace": [{"module": "example.com", "version": "v1.0.0", "package": "example.com/a/b"}]}}
`
	const open = `{"finding": {"osv": "GO-2026-0002", "trace": [{"module": "example.com/a", "version": "v1.0.0"}]}}
`
	first := vulnerability{"GO-2026-0001", "example.com/a", "v1.0.0", "v1.0.1"}
	second := vulnerability{"GO-2026-0002", "example.com/a", "v1.0.0", "none"}
	for name, test := range map[string]struct {
		text string
		want []vulnerability
	}{
		"none":                           {scan, nil},
		"a package of a wrong module":    {scan + guessed, nil},
		"two programs have the same":     {scan + repaired + guessed + scan + open + repaired, []vulnerability{first, second}},
		"one that no version is without": {scan + open, []vulnerability{second}},
	} {
		got, err := findings(strings.NewReader(test.text))
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v (err %v), want %v", name, got, err, test.want)
		}
	}
	for _, text := range []string{"", "no scan", scan + "{"} {
		if _, err := findings(strings.NewReader(text)); err == nil {
			t.Errorf("%q is no error", text)
		}
	}
}
