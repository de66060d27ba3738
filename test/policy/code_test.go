// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// call forbids naming something of a package.
type call struct {
	name   *regexp.Regexp // as in the code: package.Name
	below  string         // folder; "" is the whole tree
	except string         // folder; "" for none
	tests  bool           // holds for test files too
	why    string
}

var calls = []call{
	{name: regexp.MustCompile(`^time\.Sleep$`), tests: true, why: "wait for what you wait for: a channel, a context, or a poll with a deadline"},
	{name: regexp.MustCompile(`^time\.(Now|Since|Until|After|Tick|NewTimer|NewTicker)$`), below: "pkg", why: "pkg has no clock: pass the time in"},
	{name: regexp.MustCompile(`^klog\.(Info|Warning|Error|Fatal|Exit|V$)`), tests: true, why: "log with logger := klog.FromContext(ctx), a constant message, keys and values"},
	{name: regexp.MustCompile(`^http\.(Get|Post|PostForm|Head)$`), tests: true, why: "it has no timeout; make a client that has one"},
	{name: regexp.MustCompile(`^resource\.ParseQuantity$`), except: "pkg/quantity", why: "it takes hours for some texts: call quantity.Parse"},
	{name: regexp.MustCompile(`^os\.Getenv$|^os\.LookupEnv$`), below: "scheduler", why: "configuration is the file and the flags"},
	{name: regexp.MustCompile(`^os\.Getenv$|^os\.LookupEnv$`), below: "agent", why: "configuration is the file and the flags"},
}

func TestForbiddenCalls(t *testing.T) { obey(t, forbiddenCalls(tree(t))) }

func forbiddenCalls(files []*file) []string {
	var violations []string
	for _, f := range goFiles(files) {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := selector.X.(*ast.Ident)
			if !ok {
				return true
			}
			name := pkg.Name + "." + selector.Sel.Name
			for _, c := range calls {
				if c.name.MatchString(name) && (c.below == "" || f.under(c.below)) && (c.except == "" || !f.under(c.except)) && (c.tests || !f.test()) {
					violations = append(violations, fmt.Sprintf("%s: %s: %s", f.at(n.Pos()), name, c.why))
				}
			}
			return true
		})
	}
	return violations
}

func TestPkgHasNoGoroutines(t *testing.T) { obey(t, goroutines(tree(t))) }

func goroutines(files []*file) []string {
	var violations []string
	for _, f := range goFiles(files) {
		if !f.under("pkg") || f.test() {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if _, ok := n.(*ast.GoStmt); ok {
				violations = append(violations, fmt.Sprintf("%s: go statement: pkg has no goroutines; leave them to the caller", f.at(n.Pos())))
			}
			return true
		})
	}
	return violations
}

// Reasons end up in one line with the number of nodes before each: "3 node(s) had no free core".
func TestReasonsCountNodes(t *testing.T) { obey(t, reasons(tree(t))) }

func reasons(files []*file) []string {
	var violations []string
	for _, f := range goFiles(files) {
		if f.dir() != "scheduler/dedicatedcpu" || f.test() {
			continue
		}
		for name, value := range stringConstants(f.syntax) {
			if strings.HasPrefix(strings.ToLower(name), "reason") && !strings.HasPrefix(value, "node(s) ") {
				violations = append(violations, fmt.Sprintf("%s: %s = %q; begin it with \"node(s) \"", f.path, name, value))
			}
		}
	}
	return violations
}

// goFiles are the files that people wrote in Go.
func goFiles(files []*file) []*file {
	var kept []*file
	for _, f := range files {
		if f.syntax != nil && !f.generated() {
			kept = append(kept, f)
		}
	}
	return kept
}
