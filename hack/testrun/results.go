// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// event is a line of go test -json (cmd/test2json).
type event struct {
	Time       time.Time
	Action     string
	Package    string
	ImportPath string // of build-output, in place of Package
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

// mostKept is how much output of one test is kept to be shown if it fails. Of more the end counts.
const mostKept = 64 << 10

// colour is what ginkgo colours its text with on a terminal.
var colour = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// covered is what go test -cover says of a package, with the tab before it.
var covered = regexp.MustCompile(`\tcoverage: [0-9.]+% of statements`)

// results are those of all packages.
type results struct {
	log, shown io.Writer

	mu sync.Mutex
	// output is what a test or, under the name "", a package has printed, by package.
	output map[string]map[string][]byte
	began  map[string]time.Time
	// latest is the last line of a package that runs.
	latest map[string]string

	packages, passed, failed, skipped int
	// bad are the packages and tests that failed.
	bad []string
}

func newResults(log, shown io.Writer) *results {
	return &results{log: log, shown: shown, output: map[string]map[string][]byte{}, began: map[string]time.Time{}, latest: map[string]string{}}
}

// read takes all events. A line that is none is shown as it is: go test prints some before it starts.
func (r *results) read(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading go test's output: %w", err)
		}
	}
}

func (r *results) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		r.log.Write(line)
		r.shown.Write(line)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Action {
	case "start":
		r.began[e.Package] = e.Time
		r.output[e.Package] = map[string][]byte{}
	case "output":
		r.keep(&e)
	case "build-output":
		io.WriteString(r.log, e.Output)
		io.WriteString(r.shown, e.Output)
	case "pass", "fail", "skip":
		r.end(&e)
	}
}

// keep logs what a test has printed, and keeps the end of it until the test has ended.
func (r *results) keep(e *event) {
	io.WriteString(r.log, e.Output)
	tests := r.output[e.Package]
	if tests == nil {
		tests = map[string][]byte{}
		r.output[e.Package] = tests
	}
	kept := append(tests[e.Test], e.Output...)
	if len(kept) > mostKept {
		kept = slices.Clone(kept[len(kept)-mostKept/2:])
	}
	tests[e.Test] = kept
	text := strings.TrimSpace(colour.ReplaceAllString(e.Output, ""))
	if strings.ContainsFunc(text, unicode.IsLetter) {
		r.latest[e.Package] = text
	}
}

// end counts a test or a package, and shows what a failed one has printed.
func (r *results) end(e *event) {
	tests := r.output[e.Package]
	if e.Test != "" {
		r.count(e)
		if e.Action == "fail" {
			fmt.Fprintf(r.shown, "%s %s:\n%s", e.Package, e.Test, tests[e.Test])
		}
		delete(tests, e.Test)
		return
	}
	r.packages++
	failed := e.Action == "fail"
	word := map[bool]string{false: "ok  ", true: "FAIL"}[failed]
	if failed {
		r.endBadly(e, tests)
	}
	if failed || e.Action == "pass" {
		fmt.Fprintf(r.shown, "%s\t%s\t%.3fs%s\n", word, e.Package, e.Elapsed, covered.Find(tests[""])) // as go test writes it
	}
	delete(r.output, e.Package)
	delete(r.began, e.Package)
	delete(r.latest, e.Package)
}

// endBadly shows what a package has printed that is of no test that ended: a panic, or a process that was killed.
func (r *results) endBadly(e *event, tests map[string][]byte) {
	named := slices.ContainsFunc(r.bad, func(name string) bool { return strings.HasPrefix(name, e.Package+" ") })
	if !named {
		r.failed++
		r.bad = append(r.bad, e.Package)
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		if name != "" || !named {
			r.shown.Write(tests[name])
		}
	}
}

// count counts a test. Subtests are parts of theirs.
func (r *results) count(e *event) {
	if strings.Contains(e.Test, "/") {
		return
	}
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped++
	case "fail":
		r.failed++
		r.bad = append(r.bad, e.Package+" "+e.Test)
	}
}

// running says what has not ended yet.
func (r *results) running(now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.began) == 0 {
		return "     compiling"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.began)) {
		text := []byte(r.latest[name])
		text = text[:min(len(text), 100)]
		text = bytes.ToValidUTF8(text, nil)
		parts = append(parts, fmt.Sprintf("     %s runs since %.0fs: %s", name, now.Sub(r.began[name]).Seconds(), text))
	}
	return strings.Join(parts, "\n")
}

// summary is the last line.
func (r *results) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := fmt.Sprintf("%d packages: %d tests passed, %d failed, %d skipped", r.packages, r.passed, r.failed, r.skipped)
	if len(r.bad) > 0 {
		text += " (" + strings.Join(r.bad, ", ") + ")"
	}
	return text
}
