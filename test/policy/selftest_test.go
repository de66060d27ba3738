// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const doc = "// Package p is for this test.\npackage p\n"

// Every rule, over a tree that breaks it in one way and over one that does not.
func TestEveryRuleCanFail(t *testing.T) {
	lines := func(n int) string { return strings.Repeat("\n", n) }
	for name, c := range map[string]struct {
		rule func([]*file) []string
		path string
		bad  string
		good string
	}{
		"package without comment":   {packageComments, "pkg/p/p.go", "package p\n", doc},
		"package comment of others": {packageComments, "pkg/p/p.go", "// Package q is for this test.\npackage p\n", doc},
		"command without its name":  {packageComments, "hack/p/p.go", "// This is it.\npackage main\n", "// Command p is it.\npackage main\n"},
		"pkg imports agent":         {forbiddenImports, "pkg/p/p.go", "package p\nimport _ \"corepin.dev/corepin/agent/label\"\n", "package p\nimport _ \"corepin.dev/corepin/pkg/vmi\"\n"},
		"plugin imports kubernetes": {forbiddenImports, "scheduler/p/p.go", "package p\nimport _ \"k8s.io/kubernetes/pkg/scheduler\"\n", "package p\nimport _ \"k8s.io/kube-scheduler/framework\"\n"},
		"testify beside the code":   {forbiddenImports, "agent/p/p_test.go", "package p\nimport _ \"github.com/stretchr/testify/require\"\n", "package p\nimport _ \"testing\"\n"},
		"long file":                 {sizesNoExceptions, "pkg/p/p.go", "package p\n" + lines(maxFile), "package p\n" + lines(maxFile-1)},
		"long test file":            {sizesNoExceptions, "pkg/p/p_test.go", "package p\n" + lines(maxTestFile), "package p\n" + lines(maxFile)},
		"long function":             {sizesNoExceptions, "pkg/p/p.go", "package p\nfunc f() {" + lines(maxFunc) + "}\n", "package p\nfunc f() {" + lines(maxFunc-1) + "}\n"},
		"long main":                 {sizesNoExceptions, "agent/main.go", "package main\n" + lines(maxMain), "package main\n" + lines(maxMain-1)},
		"new wing":                  {folders, "docs/a.md", "a\n", ""},
		"new file at the root":      {folders, "NOTES.md", "a\n", ""},
		"vague package":             {packageNames, "pkg/p/p.go", "package util\n", "package p\n"},
		"sleeping":                  {forbiddenCalls, "test/p/p_test.go", "package p\nfunc f() { time.Sleep(1) }\n", "package p\nfunc f() { time.Now() }\n"},
		"clock in pkg":              {forbiddenCalls, "pkg/p/p.go", "package p\nfunc f() { time.Now() }\n", "package p\nfunc f(now time.Time) {}\n"},
		"old klog":                  {forbiddenCalls, "agent/p/p.go", "package p\nfunc f() { klog.Infof(\"\") }\n", "package p\nfunc f() { klog.FromContext(ctx) }\n"},
		"goroutine in pkg":          {goroutines, "pkg/p/p.go", "package p\nfunc f() { go f() }\n", "package p\nfunc f() { f() }\n"},
		"reason without nodes":      {reasons, "scheduler/dedicatedcpu/reasons.go", "package p\nconst ReasonA = \"no core\"\n", "package p\nconst ReasonA = \"node(s) had no core\"\n"},
		"log message varies":        {logging, "agent/p/p.go", "package p\nfunc f() { logger.Info(a + b) }\n", "package p\nfunc f() { logger.Info(\"pinned\", \"vm\", a) }\n"},
		"log message shouts":        {logging, "agent/p/p.go", "package p\nfunc f() { logger.V(2).Info(\"Pinned\") }\n", "package p\nfunc f() { logger.V(2).Info(\"CPUs pinned\") }\n"},
		"log key with a space":      {logging, "agent/p/p.go", "package p\nfunc f() { logger.Error(err, \"a\", \"a b\", 1) }\n", "package p\nfunc f() { logger.Error(err, \"a\", \"aB\", 1) }\n"},
		"log key without value":     {logging, "agent/p/p.go", "package p\nfunc f() { logger.Info(\"a\", \"b\") }\n", "package p\nfunc f() { logger.Info(\"a\") }\n"},
		"chained logger":            {logging, "agent/p/p.go", "package p\nfunc f() { klog.FromContext(ctx).V(2).Info(a + b) }\n", "package p\nfunc f() { w.logger.WithValues(\"a\", 1).Info(\"pinned\") }\n"},
		"long sentence":             {prose, "pkg/p/p.go", "package p\n\n// a" + strings.Repeat(" word", maxWords) + ".\nvar a int\n", "package p\n\n// a" + strings.Repeat(" word", maxWords-1) + ".\n// b.\nvar a int\n"},
		"archaic word":              {prose, "pkg/p/p.go", "package p\n\n// ok tells " + "whether it is.\nvar ok bool\n", "package p\n\n// ok reports whether it is.\nvar ok bool\n"},
		"packed assignments":        {packing, "pkg/p/p.go", "package p\nfunc f() { a, b := 1, 2; c, d := 3, 4; _, _, _, _ = a, b, c, d }\n", "package p\nfunc f() { a[0], a[1] = a[1], a[0]; b, c = c, b }\n"},
		"packed ifs":                {packing, "pkg/p/p.go", "package p\nfunc f() {" + strings.Repeat(" if a := 1; a > 2 {};", 5) + "}\n", "package p\nfunc f() {" + strings.Repeat(" if err := g(); err != nil {};", 5) + "}\n"},
		"hyphenated target":         {makefile, "Makefile", "a-b:\n\tc\n", "a-b: ## Do c\n\tc\n"},
		"mark of unfinished work":   {text, "agent/p/p.go", "// TO" + "DO: later\n", "// done\n"},
		"registry":                  {text, "manifests/a.yaml", "image: quay." + "io/a\n", "image: registry.example/a\n"},
		"path of a machine":         {text, "hack/a.sh", "cd /wo" + "rk/main\n", "cd main\n"},
		"no last newline":           {text, "hack/a.sh", "a", "a\n"},
		"README names no target":    {readmeOnly, "README.md", "`make nothing`\n", "`make`\n"},
		"README names no path":      {readmeOnly, "README.md", "in `agent/nothing`\n", "in `agent/label`\n"},
		"README links nowhere":      {readmeOnly, "README.md", "[a](agent/nothing)\n", "[a](agent/label)\n"},
		"target without help":       {makefile, "Makefile", "a:\n\tb\n", "a: ## Do b\n\tb\n"},
		"rule without comment":      {rbacComments, "manifests/r.yaml", "kind: Role\nrules:\n- apiGroups: [a]\n", "kind: Role\nrules:\n# why\n- apiGroups: [a]\n"},
		"built-in role, no comment": {rbacComments, "manifests/r.yaml", "kind: RoleBinding\nroleRef:\n  name: system:a\n", "# why\nkind: RoleBinding\nroleRef:\n  name: system:a\n"},
		"replace of ours":           {goMod, "go.mod", "module a\nrequire k8s.io/kubernetes v1.2.3\nreplace b => c v1.0.0\n", goModGood},
		"mixed Kubernetes":          {goMod, "go.mod", strings.Replace(goModGood, "api v0.2.3\n// END", "api v0.2.4\n// END", 1), goModGood},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.rule([]*file{newFile(c.path, c.bad)}); len(got) != 1 {
				t.Errorf("over the bad file: %d violations %q, want 1", len(got), got)
			}
			if got := c.rule([]*file{newFile(c.path, c.good)}); c.good != "" && len(got) != 0 {
				t.Errorf("over the good file: %q, want none", got)
			}
		})
	}
}

const goModGood = "module a\nrequire k8s.io/kubernetes v1.2.3\n" + beginReplaces + "replace k8s.io/api => k8s.io/api v0.2.3\n" + endReplaces

func sizesNoExceptions(files []*file) []string { return sizes(files, nil) }

func readmeOnly(files []*file) []string {
	return readmes(files, func(name string) bool { return name == "agent/label" })
}

func TestExceptionsNoLongerNeededFail(t *testing.T) {
	if got := sizes([]*file{newFile("pkg/p/p.go", doc)}, map[string]string{"pkg/p/p.go": "once long"}); len(got) != 1 {
		t.Errorf("got %q, want the one stale exception", got)
	}
}

func TestStaleImportExceptionsFail(t *testing.T) {
	b := ban{below: "pkg", except: []string{"pkg/p"}, path: "os"}
	if b.needs([]*file{newFile("pkg/p/p.go", doc)}, "pkg/p") || !b.needs([]*file{newFile("pkg/p/p.go", doc+"import _ \"os\"\n")}, "pkg/p") {
		t.Error("an exception is needed exactly where a file imports what is forbidden")
	}
}

func TestManifestRulesCanFail(t *testing.T) {
	role := &rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{{Verbs: []string{"*"}}, {Resources: []string{"secrets"}}}}
	binding := &rbacv1.ClusterRoleBinding{RoleRef: rbacv1.RoleRef{Name: "cluster-admin"}}
	if got := grants([]runtime.Object{role, binding}); len(got) != 3 {
		t.Errorf("got %q, want three violations", got)
	}
	bare := corev1.PodSpec{HostPID: true, Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{MountPath: "/"}}}}}
	if got := confined("corepin-scheduler", bare, nil); len(got) != 11 {
		t.Errorf("%d violations %q, want 11", len(got), got)
	}
}
