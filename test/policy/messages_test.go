// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A user finds the words of a condition, an event or a refusal in the README of the program that says them.
func TestEveryMessageIsExplained(t *testing.T) { obey(t, unexplained(tree(t))) }

var (
	explaining = []string{"agent/README.md", "scheduler/README.md"}
	speaking   = []string{"agent", "scheduler", "pkg/apis"}
	// spoken is how constants are called whose values users read.
	spoken = regexp.MustCompile(`^([eE]vent|[rR]eason|Condition)[A-Z]`)
	// saidByOthers are explained too, and are in no constant of ours.
	saidByOthers = []string{"FailedScheduling"}

	// entry is a row of a table of three columns, whose first is what a user reads.
	entry = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| [^|]+ \\| [^|]+ \\|$")
	// arguments is the table of a configuration, which has three columns too.
	arguments = regexp.MustCompile(`(?s)## Arguments of .*?\n## `)
)

// unexplained names constants without a row in a README, and rows without a constant.
func unexplained(files []*file) []string {
	said := map[string]string{} // by text, where it is said
	for _, other := range saidByOthers {
		said[other] = "another program"
	}
	rows := map[string]string{} // by text, where it is explained
	for _, f := range files {
		if slices.Contains(explaining, f.path) {
			for _, row := range entry.FindAllStringSubmatch(arguments.ReplaceAllString(f.text, ""), -1) {
				rows[row[1]] = f.path
			}
		}
		if f.syntax == nil || f.test() || !slices.ContainsFunc(speaking, f.under) {
			continue
		}
		for name, value := range stringConstants(f.syntax) {
			if spoken.MatchString(name) && value != "" {
				said[value] = f.path + ": " + name
			}
		}
	}
	var violations []string
	for _, text := range slices.Sorted(maps.Keys(said)) {
		if rows[text] == "" {
			violations = append(violations, fmt.Sprintf("%s says %q; add a row to one of %q: | `%s` | what it says | what to do |", said[text], text, explaining, text))
		}
	}
	for _, text := range slices.Sorted(maps.Keys(rows)) {
		if said[text] == "" {
			violations = append(violations, fmt.Sprintf("%s: nothing says %q any more; remove the row", rows[text], text))
		}
	}
	return violations
}

func TestUnexplainedCanFail(t *testing.T) {
	code := newFile("agent/a/a.go", "package a\nconst EventA = \"A\"\nconst Other = \"B\"\n")
	const failed = "| `FailedScheduling` | is | do |\n"
	for text, want := range map[string]string{
		"| `A` | it is A | nothing |\n":                                 "",
		"| `A` | it is A |\n":                                           "add a row",
		"| `A` | is | do |\n| `B` | is | do |\n":                        "remove the row",
		"## Arguments of a\n| `B` | c | d |\n\n## E\n| `A` | b | c |\n": "",
	} {
		got := unexplained([]*file{code, newFile("agent/README.md", failed+text)})
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0], want)) {
			t.Errorf("over %q: %q, want %q", text, got, want)
		}
	}
}
