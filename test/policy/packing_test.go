// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strings"
	"testing"
)

// The limits count in a thousand lines of a folder's product code. maxTuples is for assignments of several
// plain values. maxPackedIf is for ifs with a statement before the condition, where that is not the idiom for
// an error or a presence check. Codebases worth learning from have at most 1 and 4.
const (
	maxTuples   = 1.0
	maxPackedIf = 4.0
)

func TestOneStatementALine(t *testing.T) { obey(t, packing(tree(t))) }

// packed counts one folder.
type packed struct{ lines, tuples, ifs int }

func packing(files []*file) []string {
	folders := map[string]*packed{}
	for _, f := range goFiles(files) {
		top, _, _ := strings.Cut(f.path, "/")
		if f.test() || top == "test" || top == "hack" {
			continue
		}
		if folders[top] == nil {
			folders[top] = &packed{}
		}
		folders[top].add(f)
	}
	var violations []string
	for _, top := range slices.Sorted(maps.Keys(folders)) {
		p := folders[top]
		if rate := p.rate(p.tuples); rate > maxTuples {
			violations = append(violations, fmt.Sprintf("%s: %.1f assignments of several plain values in 1,000 lines, at most %.1f: one assignment a line", top, rate, maxTuples))
		}
		if rate := p.rate(p.ifs); rate > maxPackedIf {
			violations = append(violations, fmt.Sprintf("%s: %.1f ifs with a statement of their own in 1,000 lines, at most %.1f: put the statement on its own line", top, rate, maxPackedIf))
		}
	}
	return violations
}

func (p *packed) rate(n int) float64 { return 1000 * float64(n) / float64(max(p.lines, 1000)) }

func (p *packed) add(f *file) {
	p.lines += f.lines()
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if len(n.Lhs) > 1 && len(n.Lhs) == len(n.Rhs) && !swaps(n) {
				p.tuples++
			}
		case *ast.IfStmt:
			if n.Init != nil && !customary(n) {
				p.ifs++
			}
		}
		return true
	})
}

// swaps reports whether an assignment reads what it writes, and so cannot be two.
func swaps(n *ast.AssignStmt) bool {
	written := map[string]bool{}
	for _, left := range n.Lhs {
		written[source(left)] = true
	}
	reads := false
	for _, right := range n.Rhs {
		reads = reads || written[source(right)]
	}
	return reads
}

// source is an expression of names and indexes as text, which is enough to recognise a swap.
func source(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return source(e.X) + "." + e.Sel.Name
	case *ast.IndexExpr:
		return source(e.X) + "[" + source(e.Index) + "]"
	}
	return ""
}

// customary reports whether an if's own statement is the idiom for an error, a map or type check.
func customary(n *ast.IfStmt) bool {
	assign, ok := n.Init.(*ast.AssignStmt)
	if !ok || assign.Tok != token.DEFINE {
		return false
	}
	last, ok := assign.Lhs[len(assign.Lhs)-1].(*ast.Ident)
	return ok && slices.Contains([]string{"err", "ok", "found", "exists", "has", "isCall", "isName", "isSelector"}, last.Name)
}
