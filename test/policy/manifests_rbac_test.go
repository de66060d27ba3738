// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Whoever installs corepin reads what it may do, and why: every rule and every use of a built-in role
// has a comment above it.
func TestManifestsExplainEveryRBACRule(t *testing.T) { obey(t, rbacComments(tree(t))) }

var (
	// A rule is an element of a list that begins with what RBAC rules are made of.
	ruleStart   = regexp.MustCompile(`^\s*- (apiGroups|resources|resourceNames|nonResourceURLs|verbs):`)
	ruleKind    = regexp.MustCompile(`(?m)^kind: (Cluster)?Role$`)
	bindingKind = regexp.MustCompile(`(?m)^kind: (Cluster)?RoleBinding$`)
	foreignRole = regexp.MustCompile(`(?m)^  name: (system:|extension-)`)
)

func rbacComments(files []*file) []string {
	var violations []string
	for _, f := range files {
		// The chart's files are rendered from others, without their comments.
		if !f.under("manifests") || f.under("manifests/chart/files") || !strings.HasSuffix(f.path, ".yaml") {
			continue
		}
		line := 1
		for _, document := range strings.Split(f.text, "---\n") {
			lines := strings.Split(document, "\n")
			for i, l := range lines {
				commented := i > 0 && strings.HasPrefix(strings.TrimSpace(lines[i-1]), "#")
				if ruleKind.MatchString(document) && ruleStart.MatchString(l) && !commented {
					violations = append(violations, fmt.Sprintf("%s:%d: say in a comment above this rule who needs it for what", f.path, line+i))
				}
			}
			if bindingKind.MatchString(document) && foreignRole.MatchString(document) && !strings.HasPrefix(document, "#") {
				violations = append(violations, fmt.Sprintf("%s:%d: say in a comment above this binding what the built-in role is needed for", f.path, line))
			}
			line += strings.Count(document, "\n") + 1
		}
	}
	return violations
}

func TestManifestsGrantNoWildcards(t *testing.T) {
	for _, dir := range kustomizations(t) {
		for _, violation := range grants(build(t, dir)) {
			t.Errorf("manifests/%s: %s", dir, violation)
		}
	}
}

// grants tells of rules that give more than anything of ours needs.
func grants(objects []runtime.Object) []string {
	var violations []string
	check := func(owner string, rules []rbacv1.PolicyRule) {
		for _, r := range rules {
			for _, list := range [][]string{r.APIGroups, r.Resources, r.Verbs} {
				if slices.Contains(list, "*") {
					violations = append(violations, owner+": name what is meant instead of *")
				}
			}
			if slices.Contains(r.Resources, "secrets") || slices.Contains(r.Verbs, "escalate") || slices.Contains(r.Verbs, "bind") || slices.Contains(r.Verbs, "impersonate") {
				violations = append(violations, owner+": nothing in corepin needs secrets or somebody else's rights")
			}
		}
	}
	for _, object := range objects {
		switch o := object.(type) {
		case *rbacv1.ClusterRole:
			check("ClusterRole "+o.Name, o.Rules)
		case *rbacv1.Role:
			check("Role "+o.Name, o.Rules)
		case *rbacv1.ClusterRoleBinding:
			if o.RoleRef.Name == "cluster-admin" {
				violations = append(violations, "ClusterRoleBinding "+o.Name+": nobody is cluster-admin")
			}
		}
	}
	return violations
}
