// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"go/ast"
	"slices"
	"testing"
)

// The limits in lines. What is worth reading is short; what is longer has a part with a name of its own.
const (
	maxFile     = 450
	maxTestFile = 800
	maxFunc     = 70
	maxTestFunc = 80
	maxMain     = 30  // scheduler/main.go and agent/main.go
	maxPolicy   = 120 // a file of this package
)

// longer are the exceptions: a file, or "file function", and why it may be longer. Keep it empty if you can.
var longer = map[string]string{}

func TestSizes(t *testing.T) { obey(t, sizes(tree(t), longer)) }

func sizes(files []*file, allowed map[string]string) []string {
	var violations []string
	used := map[string]bool{}
	check := func(name string, lines, limit int) {
		switch reason, excepted := allowed[name]; {
		case lines <= limit:
		case excepted && reason != "":
			used[name] = true
		default:
			violations = append(violations, fmt.Sprintf("%s: %d lines, at most %d; give a part of it a name and a place of its own", name, lines, limit))
		}
	}
	for _, f := range goFiles(files) {
		fileLimit, funcLimit := limits(f)
		check(f.path, f.lines(), fileLimit)
		for _, decl := range f.syntax.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
				lines := f.set.Position(fn.End()).Line - f.set.Position(fn.Pos()).Line + 1
				check(f.path+" "+fn.Name.Name, lines, funcLimit)
			}
		}
	}
	for name := range allowed {
		if !used[name] {
			violations = append(violations, fmt.Sprintf("%s: not too long, or without a reason; take it off the list of exceptions", name))
		}
	}
	slices.Sort(violations)
	return violations
}

func limits(f *file) (lines, function int) {
	switch {
	case f.path == "scheduler/main.go" || f.path == "agent/main.go":
		return maxMain, maxMain
	case f.under("test/policy"):
		return maxPolicy, maxFunc
	case f.test():
		return maxTestFile, maxTestFunc
	}
	return maxFile, maxFunc
}
