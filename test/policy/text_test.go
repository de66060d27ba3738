// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// phrase is what must not stand in any file. The patterns are put together from parts, so that this file
// does not break its own rule.
type phrase struct {
	pattern *regexp.Regexp
	why     string
}

var phrases = []phrase{
	{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`), "do it now, or open an issue and leave no mark in the code"},
	{regexp.MustCompile(`\b(docker|quay|ghcr|gcr|lscr)\.` + `io\b`), "no registry: images are built by make images, or named by the user's overlay"},
	{regexp.MustCompile(`\bregistry\.k8s\.` + `io\b|\bmcr\.microsoft\.` + `com\b|public\.ecr\.` + `aws\b`), "no registry: images are built by make images, or named by the user's overlay"},
	{regexp.MustCompile(`/wo` + `rk/|/tmp/br` + `ief`), "a path of one machine means nothing on another"},
	{regexp.MustCompile(`(?m)^(<<<<<<<|>>>>>>>) `), "resolve the conflict"},
}

// records are files that we keep as somebody else made them.
var records = []string{"go.sum", "hack/tools/go.sum", "hack/tools/helm/go.sum", "hack/tools/cosign/go.sum"}

func TestNothingUnfinishedOrForeign(t *testing.T) { obey(t, text(tree(t))) }

func text(files []*file) []string {
	var violations []string
	for _, f := range files {
		if slices.Contains(records, f.path) {
			continue
		}
		for _, p := range phrases {
			for _, found := range p.pattern.FindAllStringIndex(f.text, -1) {
				line := 1 + strings.Count(f.text[:found[0]], "\n")
				violations = append(violations, fmt.Sprintf("%s:%d: %q: %s", f.path, line, f.text[found[0]:found[1]], p.why))
			}
		}
		if f.text != "" && !strings.HasSuffix(f.text, "\n") && path.Ext(f.path) != ".golden" {
			violations = append(violations, f.path+": end the last line with a newline")
		}
	}
	return violations
}

// stringConstants are the constants and variables of a file with a string literal as their value.
func stringConstants(syntax *ast.File) map[string]string {
	values := map[string]string{}
	for _, decl := range syntax.Decls {
		general, ok := decl.(*ast.GenDecl)
		if !ok || general.Tok != token.CONST && general.Tok != token.VAR {
			continue
		}
		for _, spec := range general.Specs {
			v := spec.(*ast.ValueSpec)
			for i := range min(len(v.Names), len(v.Values)) {
				if value, ok := literal(v.Values[i]); ok {
					values[v.Names[i].Name] = value
				}
			}
		}
	}
	return values
}
