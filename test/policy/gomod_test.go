// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// k8s.io/kubernetes and its staging modules are one source tree and only work at one version. The
// replaces that hold them together are written by hack/update-k8s.sh; a replace of anything else would
// build something that nobody who imports us gets.
func TestGoModHoldsOneKubernetes(t *testing.T) { obey(t, goMod(tree(t))) }

const (
	beginReplaces = "// BEGIN kubernetes replaces, written by hack/update-k8s.sh\n"
	endReplaces   = "// END kubernetes replaces\n"
)

func goMod(files []*file) []string {
	for _, f := range files {
		if f.path == "go.mod" {
			return checkGoMod(f)
		}
	}
	return []string{"go.mod: missing"}
}

func checkGoMod(f *file) []string {
	mod, err := modfile.Parse(f.path, []byte(f.text), nil)
	if err != nil {
		return []string{err.Error()}
	}
	kubernetes := ""
	for _, r := range mod.Require {
		if r.Mod.Path == "k8s.io/kubernetes" {
			kubernetes = r.Mod.Version
		}
	}
	staging := strings.Replace(kubernetes, "v1.", "v0.", 1)
	begin, end := lineOf(f.text, beginReplaces), lineOf(f.text, endReplaces)
	var violations []string
	replaced := map[string]bool{}
	for _, r := range mod.Replace {
		replaced[r.Old.Path] = true
		switch {
		case begin == 0 || r.Syntax.Start.Line < begin || r.Syntax.Start.Line > end:
			violations = append(violations, fmt.Sprintf("go.mod:%d: replace of %s outside the generated block; remove it", r.Syntax.Start.Line, r.Old.Path))
		case r.New.Path != r.Old.Path || r.New.Version != staging:
			violations = append(violations, fmt.Sprintf("go.mod:%d: %s is replaced by %s, want %s %s; run hack/update-k8s.sh %s", r.Syntax.Start.Line, r.Old.Path, r.New, r.Old.Path, staging, kubernetes))
		}
	}
	for _, r := range mod.Require {
		// v0.0.0 is how a staging module names another that it leaves to the replace.
		if replaced[r.Mod.Path] && r.Mod.Version != staging && r.Mod.Version != "v0.0.0" {
			violations = append(violations, fmt.Sprintf("go.mod:%d: %s, but Kubernetes is %s; run hack/update-k8s.sh %s and go mod tidy", r.Syntax.Start.Line, r.Mod, kubernetes, kubernetes))
		}
	}
	if len(replaced) == 0 {
		violations = append(violations, "go.mod: no replaces of Kubernetes' staging modules; run hack/update-k8s.sh VERSION")
	}
	return violations
}

// lineOf is the line that text has in s, from 1; 0 where it is not there.
func lineOf(s, text string) int {
	before, _, found := strings.Cut(s, text)
	if !found {
		return 0
	}
	return 1 + strings.Count(before, "\n")
}
