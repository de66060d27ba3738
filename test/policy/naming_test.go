// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// house are the top-level folders; design decisions stand in the rooms, not in new wings.
var house = []string{"scheduler", "agent", "pkg", "manifests", "hack", "test"}

// porch are the files that stand at the root, besides those with a dot.
var porch = []string{"go.mod", "go.sum", "Makefile", "README.md", "LICENSE"}

// vague are names that say nothing of what is inside.
var vague = []string{"util", "utils", "common", "helper", "helpers", "misc", "base", "lib", "shared"}

func TestFoldersAreOurs(t *testing.T) { obey(t, folders(tree(t))) }

func folders(files []*file) []string {
	var violations []string
	for _, f := range files {
		top, _, nested := strings.Cut(f.path, "/")
		switch {
		case nested && !slices.Contains(house, top) && !strings.HasPrefix(top, "."):
			violations = append(violations, fmt.Sprintf("%s: no top-level folders but %s; put it into one of them", f.path, strings.Join(house, ", ")))
		case !nested && !slices.Contains(porch, top) && !strings.HasPrefix(top, "."):
			violations = append(violations, fmt.Sprintf("%s: no top-level files but %s; put it into a folder", f.path, strings.Join(porch, ", ")))
		}
	}
	return violations
}

func TestPackageNamesSaySomething(t *testing.T) { obey(t, packageNames(tree(t))) }

func packageNames(files []*file) []string {
	var violations []string
	for _, f := range goFiles(files) {
		name := strings.TrimSuffix(f.syntax.Name.Name, "_test")
		if slices.Contains(vague, name) || slices.Contains(vague, path.Base(f.dir())) {
			violations = append(violations, fmt.Sprintf("%s: package %s says nothing of what is in it; name it for its one job", f.path, name))
		}
		if name != strings.ToLower(name) || strings.Contains(name, "_") {
			violations = append(violations, fmt.Sprintf("%s: package %s: one lowercase word", f.path, name))
		}
	}
	return violations
}
