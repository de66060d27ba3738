// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// The package comment is the first thing a reader sees of a package, in the code and in `go doc`. Two of
// them are joined in an order that nobody chose.
func TestEveryPackageHasOneComment(t *testing.T) { obey(t, packageComments(tree(t))) }

func packageComments(files []*file) []string {
	comments := map[string][]string{} // directory to files with a package comment
	names := map[string]string{}      // directory to package
	var violations []string
	for _, f := range goFiles(files) {
		name := strings.TrimSuffix(f.syntax.Name.Name, "_test")
		names[f.dir()] = name
		text := f.syntax.Doc.Text()
		if text == "" {
			continue
		}
		comments[f.dir()] = append(comments[f.dir()], f.path)
		want := "Package " + name + " "
		if name == "main" {
			want = command(f.dir()) + " "
			text = strings.TrimPrefix(text, "Command ")
		}
		if !strings.HasPrefix(strings.Join(strings.Fields(text), " ")+" ", want) {
			violations = append(violations, fmt.Sprintf("%s: begin the package comment with %q", f.path, want))
		}
	}
	for dir := range names {
		switch with := comments[dir]; {
		case len(with) == 0:
			violations = append(violations, fmt.Sprintf("%s: no package comment; say in one file what the package is for, what it promises, and why so", dir))
		case len(with) > 1:
			slices.Sort(with)
			violations = append(violations, fmt.Sprintf("%s: %d package comments (%s); keep one", dir, len(with), strings.Join(with, ", ")))
		}
	}
	slices.Sort(violations)
	return violations
}

// command is the name of the program in dir.
func command(dir string) string {
	if dir == "scheduler" || dir == "agent" {
		return "corepin-" + dir
	}
	return path.Base(dir)
}
