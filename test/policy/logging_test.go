// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"testing"
	"unicode"
)

// A log is searched by its messages and keys, so both are constants: the message a lowercase phrase, the
// keys lowerCamelCase. What varies is a value.
func TestLogging(t *testing.T) { obey(t, logging(tree(t))) }

var logKey = regexp.MustCompile(`^[a-z][a-zA-Z0-9]*$`)

func logging(files []*file) []string {
	var violations []string
	for _, f := range goFiles(files) {
		if f.test() {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			first, ok := loggerCall(call)
			if !ok || len(call.Args) <= first {
				return true
			}
			for _, problem := range logProblems(call, first) {
				violations = append(violations, fmt.Sprintf("%s: %s", f.at(call.Pos()), problem))
			}
			return true
		})
	}
	return violations
}

// loggerCall reports whether call logs through a logr.Logger, and which argument is its message.
func loggerCall(call *ast.CallExpr) (message int, ok bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !isLogger(method.X) {
		return 0, false
	}
	switch method.Sel.Name {
	case "Info":
		return 0, true
	case "Error":
		return 1, true
	}
	return 0, false
}

// isLogger reports whether an expression is a logger: a name or field called logger, klog.FromContext, or
// what a logger's own methods return.
func isLogger(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "logger"
	case *ast.SelectorExpr:
		return e.Sel.Name == "logger"
	case *ast.CallExpr:
		method, ok := e.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		switch method.Sel.Name {
		case "FromContext":
			return true
		case "V", "WithValues", "WithName":
			return isLogger(method.X)
		}
	}
	return false
}

func logProblems(call *ast.CallExpr, first int) (problems []string) {
	message, ok := literal(call.Args[first])
	switch {
	case !ok:
		problems = append(problems, "the log message is not a constant; put what varies into keys and values")
	case len(message) > 1 && unicode.IsUpper(rune(message[0])) && unicode.IsLower(rune(message[1])):
		problems = append(problems, fmt.Sprintf("log message %q: begin with a small letter", message))
	}
	if call.Ellipsis.IsValid() {
		return problems
	}
	pairs := call.Args[first+1:]
	if len(pairs)%2 != 0 {
		problems = append(problems, "a log key has no value")
	}
	for i := 0; i < len(pairs); i += 2 {
		if key, ok := literal(pairs[i]); !ok || !logKey.MatchString(key) {
			problems = append(problems, fmt.Sprintf("log key number %d is not a constant in lowerCamelCase", i/2+1))
		}
	}
	return problems
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	value, err := strconv.Unquote(lit.Value)
	return value, err == nil
}
