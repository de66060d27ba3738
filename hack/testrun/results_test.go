// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

var resultCases = map[string]struct {
	events  []string
	shown   []string
	unshown []string
	summary string
}{
	"a package passes": {
		events: []string{
			`{"Action":"start","Package":"p"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}`,
			`{"Action":"pass","Package":"p","Test":"TestA/part"}`,
			`{"Action":"pass","Package":"p","Test":"TestA"}`,
			`{"Action":"skip","Package":"p","Test":"TestB"}`,
			`{"Action":"pass","Package":"p","Elapsed":1.25}`,
		},
		shown: []string{"ok  \tp\t1.250s"}, unshown: []string{"noise"},
		summary: "1 packages: 1 tests passed, 0 failed, 1 skipped",
	},
	"a package's coverage is known": {
		events: []string{
			`{"Action":"start","Package":"p"}`,
			`{"Action":"output","Package":"p","Output":"coverage: 84.2% of statements\n"}`,
			`{"Action":"output","Package":"p","Output":"ok  \tp\t1.251s\tcoverage: 84.2% of statements\n"}`,
			`{"Action":"pass","Package":"p","Elapsed":1.25}`,
		},
		shown:   []string{"ok  \tp\t1.250s\tcoverage: 84.2% of statements\n"},
		summary: "1 packages: 0 tests passed, 0 failed, 0 skipped",
	},
	"a test fails": {
		events: []string{
			`{"Action":"start","Package":"p"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}`,
			`{"Action":"pass","Package":"p","Test":"TestA"}`,
			`{"Action":"output","Package":"p","Test":"TestB","Output":"p_test.go:1: got 1, want 2\n"}`,
			`{"Action":"fail","Package":"p","Test":"TestB"}`,
			`{"Action":"output","Package":"p","Output":"FAIL\n"}`,
			`{"Action":"fail","Package":"p","Elapsed":2}`,
		},
		shown: []string{"p TestB:\np_test.go:1: got 1, want 2", "FAIL\tp\t2.000s"}, unshown: []string{"noise"},
		summary: "1 packages: 1 tests passed, 1 failed, 0 skipped (p TestB)",
	},
	"a process that was killed": {
		events: []string{
			`{"Action":"start","Package":"p"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"half way\n"}`,
			`{"Action":"output","Package":"p","Output":"signal: killed\n"}`,
			`{"Action":"fail","Package":"p","Elapsed":2}`,
		},
		shown:   []string{"half way", "signal: killed"},
		summary: "1 packages: 0 tests passed, 1 failed, 0 skipped (p)",
	},
	"a package that does not compile": {
		events: []string{
			`{"Action":"build-output","ImportPath":"p","Output":"p.go:1: undefined: x\n"}`,
			`{"Action":"start","Package":"p"}`,
			`{"Action":"output","Package":"p","Output":"FAIL p [build failed]\n"}`,
			`{"Action":"fail","Package":"p"}`,
		},
		shown:   []string{"undefined: x", "[build failed]"},
		summary: "1 packages: 0 tests passed, 1 failed, 0 skipped (p)",
	},
	"a package without tests": {
		events:  []string{`{"Action":"start","Package":"p"}`, `{"Action":"skip","Package":"p"}`},
		unshown: []string{"p"},
		summary: "1 packages: 0 tests passed, 0 failed, 0 skipped",
	},
	"what is no event": {
		events:  []string{`go: downloading example.com/m v1.0.0`, `{"x":1}`},
		shown:   []string{"go: downloading example.com/m v1.0.0", `{"x":1}`},
		summary: "0 packages: 0 tests passed, 0 failed, 0 skipped",
	},
}

func TestResults(t *testing.T) {
	for name, test := range resultCases {
		t.Run(name, func(t *testing.T) {
			var log, shown bytes.Buffer
			r := newResults(&log, &shown)
			if err := r.read(strings.NewReader(strings.Join(test.events, "\n") + "\n")); err != nil {
				t.Fatal(err)
			}
			for _, text := range test.shown {
				if !strings.Contains(shown.String(), text) {
					t.Errorf("%q is not in\n%s", text, &shown)
				}
			}
			for _, text := range test.unshown {
				if strings.Contains(shown.String(), text) {
					t.Errorf("%q is in\n%s", text, &shown)
				}
			}
			if got := r.summary(); got != test.summary {
				t.Errorf("got %q, want %q", got, test.summary)
			}
		})
	}
}

func TestRunning(t *testing.T) {
	var log, shown bytes.Buffer
	r := newResults(&log, &shown)
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.line([]byte(`{"Action":"start","Package":"p","Time":"2026-01-02T03:04:05Z"}`))
	r.line([]byte(`{"Action":"output","Package":"p","Output":"\u001b[1ma node restarts\u001b[0m\n"}`))
	r.line([]byte(`{"Action":"output","Package":"p","Output":"------\n"}`))
	if got, want := r.running(began.Add(40*time.Second)), "     p runs since 40s: a node restarts"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r.line([]byte(`{"Action":"pass","Package":"p"}`))
	if got, want := r.running(began), "     compiling"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.Contains(log.String(), "a node restarts") {
		t.Errorf("the log lacks the output: %q", &log)
	}
}

// Output without end is kept in bounds, and its end is shown.
func TestMuchOutput(t *testing.T) {
	var log, shown bytes.Buffer
	r := newResults(&log, &shown)
	r.line([]byte(`{"Action":"start","Package":"p"}`))
	for range 3000 {
		r.line([]byte(`{"Action":"output","Package":"p","Test":"TestA","Output":"` + strings.Repeat("x", 99) + `\n"}`))
	}
	r.line([]byte(`{"Action":"output","Package":"p","Test":"TestA","Output":"the reason\n"}`))
	r.line([]byte(`{"Action":"fail","Package":"p","Test":"TestA"}`))
	if shown.Len() > mostKept+100 || !strings.Contains(shown.String(), "the reason") {
		t.Errorf("%d bytes are shown; the end is there: %t", shown.Len(), strings.Contains(shown.String(), "the reason"))
	}
}
