// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// A README that names what is not there costs its reader more than none.
func TestREADMEsAreTrue(t *testing.T) {
	exists := func(name string) bool {
		_, err := os.Stat("../../" + name)
		return err == nil
	}
	obey(t, readmes(tree(t), exists))
}

var (
	target     = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	makeUse    = regexp.MustCompile("(?m)(?:`|^\\$ |^ {4,}|^)make ([a-z][a-z-]*)")
	rootedPath = regexp.MustCompile(`(?:^|[\s\x60"])((?:scheduler|agent|pkg|manifests|hack|test|\.ci)/[A-Za-z0-9_./-]*)`)
	link       = regexp.MustCompile(`\]\(([^)#:]+)\)`)
)

func readmes(files []*file, exists func(string) bool) []string {
	targets := map[string]bool{}
	for _, f := range files {
		if f.path == "Makefile" {
			for _, m := range target.FindAllStringSubmatch(f.text, -1) {
				targets[m[1]] = true
			}
		}
	}
	var violations []string
	found := false
	for _, f := range files {
		if path.Base(f.path) != "README.md" {
			continue
		}
		found = found || f.path == "README.md"
		for _, m := range makeUse.FindAllStringSubmatch(f.text, -1) {
			if !targets[m[1]] {
				violations = append(violations, fmt.Sprintf("%s: make %s: the Makefile has no such target", f.path, m[1]))
			}
		}
		for _, m := range rootedPath.FindAllStringSubmatch(f.text, -1) {
			if name := strings.TrimRight(m[1], "./-"); !exists(name) {
				violations = append(violations, fmt.Sprintf("%s: %s does not exist", f.path, name))
			}
		}
		for _, m := range link.FindAllStringSubmatch(f.text, -1) {
			if name := path.Join(f.dir(), m[1]); !exists(name) {
				violations = append(violations, fmt.Sprintf("%s: it links to %s, which does not exist", f.path, name))
			}
		}
	}
	if !found {
		violations = append(violations, "README.md: missing")
	}
	return violations
}

// The list that make prints is the only one of the targets; every target is in it.
func TestMakefileExplainsEveryTarget(t *testing.T) { obey(t, makefile(tree(t))) }

func makefile(files []*file) []string {
	var violations []string
	for _, f := range files {
		if f.path != "Makefile" {
			continue
		}
		if f.lines() > 110 {
			violations = append(violations, fmt.Sprintf("Makefile: %d lines, at most 110; move recipes into hack/", f.lines()))
		}
		for line := range strings.Lines(f.text) {
			if target.MatchString(line) && !strings.Contains(line, "## ") {
				violations = append(violations, fmt.Sprintf("Makefile: %q: say after ## what it does", strings.TrimSpace(line)))
			}
		}
	}
	return violations
}
