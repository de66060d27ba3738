// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/cluster"
	"corepin.dev/corepin/test/harness/cluster/clustertest"
)

const limit = time.Minute

// TestCluster is one start and stop of a control plane, with what a test does in between.
func TestCluster(t *testing.T) {
	dir := t.TempDir()
	c := clustertest.Start(t, dir)
	t.Run("reports the version it was built from", func(t *testing.T) { testVersion(t, c) })
	t.Run("applies and tells what is refused", func(t *testing.T) { testApply(t, c) })
	t.Run("applies custom resources in any order", func(t *testing.T) { testCustomResource(t, c) })
	t.Run("applies a kustomization", func(t *testing.T) { testKustomization(t, c) })
	t.Run("denies a service account what its role does not grant", func(t *testing.T) { testRBAC(t, c) })
	t.Run("enforces ValidatingAdmissionPolicy", func(t *testing.T) { testAdmissionPolicy(t, c) })
	t.Run("collects what lost its owner", func(t *testing.T) { testGarbageCollection(t, c) })
	t.Run("outlives a crash of its servers", func(t *testing.T) { testCrash(t, c) })
	t.Run("runs kubectl", func(t *testing.T) { testKubectl(t, c) })
	t.Run("ends all processes", func(t *testing.T) { testStop(t, c, dir) })
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func mustApply(t *testing.T, c *cluster.Cluster, yaml string) {
	t.Helper()
	if err := c.Apply(t.Context(), []byte(yaml)); err != nil {
		t.Fatal(err)
	}
}

func testVersion(t *testing.T, c *cluster.Cluster) {
	info, err := c.Client().Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if info.Major != "1" || info.Minor == "" || !strings.HasPrefix(info.GitVersion, "v1."+info.Minor+".") {
		t.Errorf("got %+v, want a release", info)
	}
}

func testApply(t *testing.T, c *cluster.Cluster) {
	mustApply(t, c, `
# a comment alone is no object
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: first, namespace: apply}, data: {key: one}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: second}, data: {key: two}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: apply}}
`)
	for ref, want := range map[cluster.Ref]string{
		{configMaps, "apply", "first"}:    "one",
		{configMaps, "default", "second"}: "two",
	} {
		_, err := c.WaitForObject(t.Context(), ref, limit, func(object *unstructured.Unstructured) error {
			if got, _, err := unstructured.NestedString(object.Object, "data", "key"); err != nil || got != want {
				return fmt.Errorf("key is %q, want %q (%w)", got, want, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	for name, manifest := range map[string]string{
		"reading document 1 of the manifest":            "a: [",
		"applying ConfigMap apply/Bad_Name":             `{apiVersion: v1, kind: ConfigMap, metadata: {name: Bad_Name, namespace: apply}}`,
		"field not declared in schema":                  `{apiVersion: v1, kind: ConfigMap, metadata: {name: third, namespace: apply}, dota: {key: one}}`,
		"name is required":                              `{apiVersion: v1, kind: ConfigMap, metadata: {namespace: apply}}`,
		"building the kustomization /nonexistent/place": "",
	} {
		err := c.Apply(t.Context(), []byte(manifest))
		if manifest == "" {
			err = c.ApplyKustomization(t.Context(), "/nonexistent/place")
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want an error with %q", err, name)
		}
	}
	_, err := c.WaitForObject(t.Context(), cluster.Ref{configMaps, "apply", "first"}, 3*await.Interval, func(*unstructured.Unstructured) error {
		return fmt.Errorf("never good enough")
	})
	if err == nil || !strings.Contains(err.Error(), "last state: never good enough") || !strings.Contains(err.Error(), "key: one") {
		t.Errorf("got %v, want the last state and the object", err)
	}
}

func testCustomResource(t *testing.T, c *cluster.Cluster) {
	mustApply(t, c, `
apiVersion: example.corepin.dev/v1
kind: Widget
metadata: {name: early}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.corepin.dev}
spec:
  group: example.corepin.dev
  scope: Cluster
  names: {kind: Widget, listKind: WidgetList, plural: widgets, singular: widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
`)
	widgets := schema.GroupVersionResource{Group: "example.corepin.dev", Version: "v1", Resource: "widgets"}
	if err := c.Dynamic().Resource(widgets).Delete(t.Context(), "early", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitForGone(t.Context(), cluster.Ref{Resource: widgets, Name: "early"}, limit); err != nil {
		t.Error(err)
	}
}

func testKustomization(t *testing.T, c *cluster.Cluster) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"kustomization.yaml": "namePrefix: a-\nresources: [map.yaml]\n",
		"map.yaml":           "{apiVersion: v1, kind: ConfigMap, metadata: {name: map, namespace: default}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.ApplyKustomization(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client().CoreV1().ConfigMaps("default").Get(t.Context(), "a-map", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func testRBAC(t *testing.T, c *cluster.Cluster) {
	mustApply(t, c, `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: default}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}]
`)
	path, err := c.ServiceAccountKubeconfig(t.Context(), "default", "reader")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig has mode %v (%v), want 0600", info.Mode(), err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config).CoreV1()
	// The authorizer learns of a binding by a watch, a moment after it was written.
	err = await.For(t.Context(), "the role to be in force", limit, func(ctx context.Context) error {
		_, err := client.ConfigMaps("default").List(ctx, metav1.ListOptions{})
		return err
	})
	if err != nil {
		t.Error(err)
	}
	_, err = client.Secrets("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "system:serviceaccount:default:reader") {
		t.Errorf("listing secrets: got %v, want that the account is forbidden to", err)
	}
	if _, err := c.ServiceAccountKubeconfig(t.Context(), "default", "nobody"); !apierrors.IsNotFound(err) {
		t.Errorf("got %v, want that the account is not there", err)
	}
}

func testAdmissionPolicy(t *testing.T, c *cluster.Cluster) {
	mustApply(t, c, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-forbidden-maps}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE, UPDATE]}]
  validations: [{expression: "!object.metadata.name.startsWith('forbidden')", message: this name is forbidden}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-forbidden-maps}
spec: {policyName: no-forbidden-maps, validationActions: [Deny]}
`)
	maps := c.Client().CoreV1().ConfigMaps("default")
	err := await.For(t.Context(), "the policy to be in force", limit, func(ctx context.Context) error {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "forbidden-"}}
		made, err := maps.Create(ctx, object, metav1.CreateOptions{})
		if err == nil {
			return fmt.Errorf("%s was created", made.Name)
		}
		if !strings.Contains(err.Error(), "this name is forbidden") {
			return err
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func testGarbageCollection(t *testing.T, c *cluster.Cluster) {
	maps := c.Client().CoreV1().ConfigMaps("default")
	owner, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owned", OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID},
	}}}
	if _, err := maps.Create(t.Context(), owned, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(t.Context(), owner.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitForGone(t.Context(), cluster.Ref{configMaps, "default", "owned"}, limit); err != nil {
		t.Error(err)
	}
}

func testCrash(t *testing.T, c *cluster.Cluster) {
	mustApply(t, c, `{apiVersion: v1, kind: ConfigMap, metadata: {name: durable, namespace: default}}`)
	for _, name := range []string{"etcd", "kube-apiserver"} {
		p := c.Process(name)
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := p.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Process("kube-apiserver").Await(t.Context(), "the API server after a crash", limit, func(ctx context.Context) error {
		return c.Client().Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client().CoreV1().ConfigMaps("default").Get(t.Context(), "durable", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.StartProcess("etcd", "/bin/true"); err == nil || !strings.Contains(err.Error(), "there is one already") {
		t.Errorf("got %v, want that the name is taken", err)
	}
}

func testKubectl(t *testing.T, c *cluster.Cluster) {
	out, err := c.Kubectl(t.Context(), "get", "configmap", "durable", "--output=name")
	if err != nil || string(out) != "configmap/durable\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := c.Kubectl(t.Context(), "get", "configmap", "absent"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("got %v, want kubectl's own message", err)
	}
}

func testStop(t *testing.T, c *cluster.Cluster, dir string) {
	if _, err := c.StartProcess("mine", "/bin/sh", "-c", "exec sleep 600"); err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "mine"} {
		pids = append(pids, fmt.Sprintf("/proc/%d", c.Process(name).PID()))
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	left := slices.DeleteFunc(pids, func(path string) bool { _, err := os.Stat(path); return os.IsNotExist(err) })
	if len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
	if _, err := cluster.Start(t.Context(), cluster.Options{Dir: dir, Binary: clustertest.Binary(t, "clusterd")}); err == nil || !strings.Contains(err.Error(), "holds the data of another cluster") {
		t.Errorf("got %v, want that the folder is taken", err)
	}
}

func TestStartTellsWhatIsWrong(t *testing.T) {
	if _, err := cluster.Start(t.Context(), cluster.Options{Dir: t.TempDir(), Binary: "/nonexistent/clusterd"}); err == nil || !strings.Contains(err.Error(), "hack/build.sh clusterd") {
		t.Errorf("got %v, want how to build the binary", err)
	}
	broken := filepath.Join(t.TempDir(), "clusterd")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho $1 has no disk; exit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := cluster.Start(t.Context(), cluster.Options{Dir: t.TempDir(), Binary: broken})
	if err == nil || !strings.Contains(err.Error(), "exited") || !strings.Contains(err.Error(), "has no disk") {
		t.Errorf("got %v, want that a server exited and its log", err)
	}
}

func TestBinaryRefusesWhatItDoesNotKnow(t *testing.T) {
	path := clustertest.Binary(t, "clusterd")
	for _, test := range []struct{ args, want string }{
		{"", "usage: clusterd etcd|kube-apiserver|kube-controller-manager|kubectl [flags]"},
		{"kubelet-of-tomorrow", "usage: clusterd etcd|"},
		{"etcd", "--data-dir must be given"},
		{"etcd --data-dir=x extra", `unexpected argument "extra"`},
		{"etcd --force-new-cluster", "unknown flag: --force-new-cluster"},
	} {
		out, err := exec.CommandContext(t.Context(), path, strings.Fields(test.args)...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), test.want) {
			t.Errorf("clusterd %s: got %v and %q, want exit code 2 and %q", test.args, err, out, test.want)
		}
	}
}
