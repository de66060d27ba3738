// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"corepin.dev/corepin/pkg/vmi"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/cluster"
	"corepin.dev/corepin/test/harness/cluster/clustertest"
	"corepin.dev/corepin/test/harness/crd"
)

// TestPolicyInAPIServer asks a real API server about every case and every example, in each version of the
// API. It refuses what pkg/vmi refuses, in the same words.
func TestPolicyInAPIServer(t *testing.T) {
	c := clustertest.Start(t, "")
	for _, manifest := range [][]byte{crd.KubeVirt, admissionManifest(t)} {
		if err := c.Apply(t.Context(), manifest); err != nil {
			t.Fatal(err)
		}
	}
	vms := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "vms"}}
	if _, err := c.Client().CoreV1().Namespaces().Create(t.Context(), vms, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitPolicyIn(t, c, "vms")

	for _, tc := range policyCases(t) {
		object := tc.object(t)
		expectDenial(t, c, tc.Name, object)
	}
	for _, file := range glob(t, filepath.Join(examples, "rejected", "*.yaml")) {
		text, _ := readExample(t, file)
		_, err := c.Kubectl(t.Context(), "apply", "--filename="+file)
		if err == nil || !strings.Contains(err.Error(), wantMessage(t, parse(t, text), vmi.Standard)) {
			t.Errorf("%s is applied as if nothing were wrong, or is told something else: %v", file, err)
		}
		t.Logf("$ kubectl apply -f rejected/%s\n%v", filepath.Base(file), err)
	}
	files := append(runnable(t), glob(t, filepath.Join(examples, "rejected", "*.yaml"))...)
	for _, file := range files {
		for _, version := range []string{"v1", "v1alpha3", "v1alpha2"} {
			text, _ := readExample(t, file)
			object := parse(t, text)
			object["apiVersion"] = "kubevirt.io/" + version
			expectDenial(t, c, file+" as "+version, object)
		}
	}
}

// awaitPolicyIn waits until the API server applies the policy, which it learns of some time after its creation.
func awaitPolicyIn(t *testing.T, c *cluster.Cluster, namespace string) {
	t.Helper()
	text, _ := readExample(t, filepath.Join(examples, "rejected", "no-memory.yaml"))
	err := await.For(t.Context(), "the policy to take effect", 60*time.Second, func(context.Context) error {
		message, err := denialIn(t, c, namespace, parse(t, text))
		if err == nil && message == "" {
			return errors.New("a VMI without memory is accepted")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func expectDenial(t *testing.T, c *cluster.Cluster, name string, object map[string]any) {
	t.Helper()
	want := wantMessage(t, object, vmi.Standard)
	if got, err := denialIn(t, c, "vms", object); err != nil || got != want {
		t.Errorf("%s:\nAPI server %s (%v)\npkg/vmi    %s", name, got, err, want)
	}
}

// denialIn is what the API server says when the policy refuses to create an object, "" when it would create it.
func denialIn(t *testing.T, c *cluster.Cluster, namespace string, object map[string]any) (string, error) {
	t.Helper()
	now := (&unstructured.Unstructured{Object: object}).DeepCopy()
	now.SetNamespace(namespace)
	resource := now.GroupVersionKind().GroupVersion().WithResource(strings.ToLower(now.GetKind()) + "s")
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	_, err := c.Dynamic().Resource(resource).Namespace(namespace).Create(t.Context(), now, dryRun)
	if err == nil {
		return "", nil
	}
	_, message, found := strings.Cut(err.Error(), "denied request: ")
	if !found {
		return "", fmt.Errorf("creating %s: %w", now.GetName(), err)
	}
	return message, nil
}
