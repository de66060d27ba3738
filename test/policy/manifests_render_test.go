// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"corepin.dev/corepin/manifests"
)

// What a reviewer reads in rbac.yaml is what a cluster gets. kustomize follows resourceNames as it follows
// every other reference: where one equals the name of a generated ConfigMap, whatever resource it means, it
// appends the hash, and the role no longer names what it did.
func TestManifestsRenderRBACRulesAsWritten(t *testing.T) {
	written := map[string][]rbacv1.PolicyRule{}
	for _, f := range tree(t) {
		if !f.under("manifests") || f.under("manifests/chart") || !strings.HasSuffix(f.path, ".yaml") || !ruleKind.MatchString(f.text) {
			continue
		}
		objects, err := decode([]byte(f.text))
		if err != nil {
			t.Fatalf("%s: %v", f.path, err)
		}
		maps.Copy(written, roleRules(objects))
	}
	for _, dir := range kustomizations(t) {
		for _, violation := range rewritten(written, roleRules(build(t, dir))) {
			t.Errorf("manifests/%s: %s", dir, violation)
		}
	}
}

// roleRules are the rules of each role, by kind, namespace and name.
func roleRules(objects []runtime.Object) map[string][]rbacv1.PolicyRule {
	rules := map[string][]rbacv1.PolicyRule{}
	for _, object := range objects {
		switch o := object.(type) {
		case *rbacv1.ClusterRole:
			rules["ClusterRole "+o.Name] = o.Rules
		case *rbacv1.Role:
			rules["Role "+o.Namespace+"/"+o.Name] = o.Rules
		}
	}
	return rules
}

// rewritten tells of roles that are rendered otherwise than they are written.
func rewritten(written, rendered map[string][]rbacv1.PolicyRule) []string {
	var violations []string
	for _, role := range slices.Sorted(maps.Keys(rendered)) {
		if want, got := written[role], rendered[role]; !reflect.DeepEqual(want, got) {
			violations = append(violations, fmt.Sprintf("%s is rendered with rules %v, and no file says so; written are %v", role, got, want))
		}
	}
	return violations
}

// The mistake that the rule above is for, made again: a ConfigMap that is called as the lease is.
func TestRenderedRBACRulesCanFail(t *testing.T) {
	const role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r, namespace: ns}\n" +
		"rules:\n- apiGroups: [coordination.k8s.io]\n  resources: [leases]\n  resourceNames: [lock]\n  verbs: [get]\n"
	for configMap, want := range map[string]int{"lock": 1, "lock-config": 0} {
		stream, err := manifests.Build(fstest.MapFS{
			"base/rbac.yaml":          {Data: []byte(role)},
			"base/kustomization.yaml": {Data: fmt.Appendf(nil, "resources: [rbac.yaml]\nconfigMapGenerator:\n- name: %s\n  namespace: ns\n  literals: [a=b]\n", configMap)},
		}, "base")
		if err != nil {
			t.Fatal(err)
		}
		rendered, err := decode(stream)
		if err != nil {
			t.Fatal(err)
		}
		written, err := decode([]byte(role))
		if err != nil {
			t.Fatal(err)
		}
		if got := rewritten(roleRules(written), roleRules(rendered)); len(got) != want {
			t.Errorf("with a ConfigMap %s: %q, want %d violations", configMap, got, want)
		}
	}
}
