// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// demoHeading is the line of the README before the block that is pasted from the demo. It says that the machine has two
// CPUs.
const demoHeading = "Part of what `make demo` prints, on a machine with two CPUs (node `local`):"

// varying is what differs from run to run: times, ages, and thread ids.
var varying = regexp.MustCompile(`\d+\.\d+s|thread \d+|\b\d+s\b`)

// flat is a text on one line, with nothing in it that differs from run to run.
func flat(text string) string {
	return strings.Join(strings.Fields(varying.ReplaceAllString(text, "N")), " ")
}

// pasted are the lines of the README's block. Where … stands for what was left out, a line is several.
func pasted(readme string) ([]string, error) {
	_, rest, found := strings.Cut(readme, demoHeading+"\n\n```\n")
	block, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		return nil, fmt.Errorf("the README has no block after %q", demoHeading)
	}
	var lines []string
	for line := range strings.Lines(block) {
		for _, part := range strings.Split(line, "…") {
			if flat(part) != "" {
				lines = append(lines, part)
			}
		}
	}
	return lines, nil
}

// unprinted are the lines that the demo did not print. Those about the node that is this machine are not looked for where
// it has another number of CPUs than the README's.
func unprinted(lines []string, printed string, cpus int) []string {
	printed = flat(printed)
	var missing []string
	for _, line := range lines {
		if !strings.Contains(printed, flat(line)) && (cpus == 2 || !strings.Contains(line, "local")) {
			missing = append(missing, strings.TrimSpace(line))
		}
	}
	return missing
}

func readREADME() (string, error) {
	text, err := os.ReadFile("../../README.md")
	return string(text), err
}

// The comparison finds a line that no demo prints, and forgives only what differs from run to run.
func TestPastedLinesAreComparedWithARun(t *testing.T) {
	const readme = demoHeading + "\n\n```\nok      0.2s  placed\n               vmi on local CPU 1 (thread 9901)\nRefused:\n    … 1500m is not a\n    number …\n```\n"
	lines, err := pasted(readme)
	if err != nil || len(lines) != 5 {
		t.Fatalf("it has the lines %q (%v), want 5", lines, err)
	}
	const run = "ok     12.0s  placed\n   vmi on local CPU 1 (thread 12)\nRefused:\n  limits: 1500m is not a number of CPUs\n"
	for _, tc := range []struct {
		printed string
		cpus    int
		want    int
	}{
		{run, 2, 0},
		{strings.Replace(run, "1500m", "1600m", 1), 2, 1},
		{strings.Replace(run, "CPU 1", "CPU 7", 1), 2, 1},
		{strings.Replace(run, "CPU 1", "CPU 7", 1), 8, 0},
		{"", 8, 4},
	} {
		if missing := unprinted(lines, tc.printed, tc.cpus); len(missing) != tc.want {
			t.Errorf("of %q with %d CPUs are missing %q, want %d lines", tc.printed, tc.cpus, missing, tc.want)
		}
	}
	if _, err := pasted("nothing"); err == nil {
		t.Error("a README without the block is no error")
	}
}
