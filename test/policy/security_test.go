// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// The table of who can do what to others is worth what its tests are: each line names one that exists, and no line of
// the tests is missing.
func TestTheSecurityTableIsTested(t *testing.T) { obey(t, securityTable(tree(t))) }

const (
	tablePath       = "manifests/README.md"
	rightsPath      = "test/integration/rights_test.go"
	confinementPath = "test/integration/confinement_test.go"
)

var (
	tableRow  = regexp.MustCompile(`(?m)^\| (can|cannot) \| (.+) \| (.+) \|$`)
	rightLine = regexp.MustCompile(`(?m)^\t\t\{"([^"]+)", (true|false), `)
	testName  = regexp.MustCompile("`(Test\\w+)`")
	testFunc  = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

func securityTable(files []*file) []string {
	texts := map[string]string{}
	tests := map[string]bool{}
	for _, f := range files {
		texts[f.path] = f.text
		if f.test() {
			for _, m := range testFunc.FindAllStringSubmatch(f.text, -1) {
				tests[m[1]] = true
			}
		}
	}
	untold := map[string]bool{}
	for _, m := range rightLine.FindAllStringSubmatch(texts[rightsPath], -1) {
		untold[map[string]string{"true": "can", "false": "cannot"}[m[2]]+" "+m[1]] = true
	}
	tried := len(untold)
	var violations []string
	rows := tableRow.FindAllStringSubmatch(texts[tablePath], -1)
	for _, row := range rows {
		can, what, by := row[1], row[2], row[3]
		switch {
		case by == "rights":
			if !untold[can+" "+what] {
				violations = append(violations, fmt.Sprintf("%s: %s has no line for %q", tablePath, rightsPath, can+" "+what))
			}
			delete(untold, can+" "+what)
		case by == "confinement":
			if !strings.Contains(texts[confinementPath], "ginkgo.It("+what+",") {
				violations = append(violations, fmt.Sprintf("%s: %s has no spec %s", tablePath, confinementPath, what))
			}
		default:
			violations = append(violations, unnamedTests(what, by, tests)...)
		}
	}
	for line := range untold {
		violations = append(violations, fmt.Sprintf("%s: it does not have the line %q of %s", tablePath, line, rightsPath))
	}
	if tried == 0 || len(rows) == 0 {
		violations = append(violations, fmt.Sprintf("%s has %d lines, and %s tries %d", tablePath, len(rows), rightsPath, tried))
	}
	return violations
}

func unnamedTests(what, by string, tests map[string]bool) []string {
	names := testName.FindAllStringSubmatch(by, -1)
	if len(names) == 0 {
		return []string{fmt.Sprintf("%s: %q names no test", tablePath, what)}
	}
	var violations []string
	for _, name := range names {
		if !tests[name[1]] {
			violations = append(violations, fmt.Sprintf("%s: %q names %s, which does not exist", tablePath, what, name[1]))
		}
	}
	return violations
}

func TestTheSecurityTableCanFail(t *testing.T) {
	files := []*file{
		newFile(rightsPath, "package p\n\t\t{\"reads\", true, nil},\n\t\t{\"writes\", false, nil},\n"),
		newFile(confinementPath, "package p\nginkgo.It(\"is held\", nil)\n"),
		newFile("a/a_test.go", "package a\nfunc TestA(t *testing.T) {}\n"),
		newFile(tablePath, "| can | reads | rights |\n| can | writes | rights |\n| can | \"is held\" | confinement |\n| can | \"is free\" | confinement |\n"+
			"| can | a | `TestA` |\n| can | b | `TestA`, `TestB` |\n| can | c | nobody |\n"),
	}
	if got := securityTable(files); len(got) != 5 {
		t.Errorf("got %q, want 5 violations", got)
	}
	if got := securityTable(nil); len(got) != 1 {
		t.Errorf("of nothing: %q, want 1 violation", got)
	}
}
