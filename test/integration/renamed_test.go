// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"io/fs"
	"testing/fstest"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/testbed"
)

const (
	otherNamespace = "elsewhere"
	otherPrefix    = "team-"
)

// renamed is what a user's overlay makes of the agent's manifests: another namespace, and a prefix before each name.
func renamed() ([]byte, error) {
	tree := fstest.MapFS{"own/kustomization.yaml": {Data: fmt.Appendf(nil, "resources: [../base/agent]\nnamespace: %s\nnamePrefix: %s\n", otherNamespace, otherPrefix)}}
	err := fs.WalkDir(manifests.FS, "base", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(manifests.FS, path)
		tree[path] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		return nil, err
	}
	return manifests.Build(tree, "own")
}

// Installed under another name, in another namespace, the agents are confined as the shipped ones are.
var _ = ginkgo.Describe("the agent under another name and namespace", ginkgo.Ordered, func() {
	var (
		bed   *testbed.Testbed
		agent dynamic.Interface
	)
	status := func(ctx context.Context, client dynamic.Interface, node string) error {
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.Kind, "metadata": map[string]any{"name": node},
			"status": map[string]any{"kubeletVersion": "v1.36.3"},
		}}
		_, err := client.Resource(v1alpha1.Resource).ApplyStatus(ctx, node, object, metav1.ApplyOptions{FieldManager: "corepin-agent", Force: true})
		return err
	}
	forbidden := func(what string) gomega.OmegaMatcher {
		return gomega.And(gomega.Satisfy(apierrors.IsForbidden), gomega.MatchError(gomega.ContainSubstring(what)))
	}
	ginkgo.BeforeAll(func(ctx context.Context) {
		bed = startTestbed(ctx, nil)
		// The shipped policy must not be what holds them.
		policies := bed.Client().AdmissionregistrationV1()
		for _, name := range []string{"agent-confinement.corepin.dev", "seen-confinement.corepin.dev"} {
			gomega.Expect(policies.ValidatingAdmissionPolicyBindings().Delete(ctx, name, metav1.DeleteOptions{})).To(gomega.Succeed())
			gomega.Expect(policies.ValidatingAdmissionPolicies().Delete(ctx, name, metav1.DeleteOptions{})).To(gomega.Succeed())
		}
		for _, name := range []string{"n1", "n2"} {
			_, err := bed.Client().CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			report := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.Kind, "metadata": map[string]any{"name": name}}}
			_, err = bed.Dynamic().Resource(v1alpha1.Resource).Create(ctx, report, metav1.CreateOptions{})
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
		}
		stream, err := renamed()
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(bed.Apply(ctx, fmt.Appendf(nil, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", otherNamespace))).To(gomega.Succeed())
		gomega.Expect(bed.Apply(ctx, stream)).To(gomega.Succeed())
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "agent", Namespace: otherNamespace},
			Spec: corev1.PodSpec{ServiceAccountName: otherPrefix + "corepin-agent", NodeName: "n1",
				Containers: []corev1.Container{{Name: "agent", Image: "x"}}},
		}
		pod, err = bed.Client().CoreV1().Pods(otherNamespace).Create(ctx, pod, metav1.CreateOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		path, err := bed.PodKubeconfig(ctx, pod)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, agent = clientsOf(path)
	})

	ginkgo.It("writes its own node's report, and no other's", func(ctx context.Context) {
		gomega.Eventually(ctx, func() error { return status(ctx, agent, "n2") }).WithTimeout(deadline).Should(forbidden("of node n1 writes its own node's objects only, not n2"))
		gomega.Expect(status(ctx, agent, "n1")).To(gomega.Succeed())
	})

	ginkgo.It("is the only one to write reports: another service account with the same role writes none", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, fmt.Appendf(nil, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: stray, namespace: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: stray}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[2]scorepin-agent}
subjects: [{kind: ServiceAccount, name: stray, namespace: %[1]s}]
`, otherNamespace, otherPrefix))).To(gomega.Succeed())
		path, err := bed.ServiceAccountKubeconfig(ctx, otherNamespace, "stray")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, stray := clientsOf(path)
		gomega.Eventually(ctx, func() error { return status(ctx, stray, "n1") }).WithTimeout(deadline).
			Should(forbidden("that ClusterRoleBinding " + otherPrefix + "corepin-agent names, and by no other"))
	})

	ginkgo.It("keeps nobody else from writing when the binding is gone", func(ctx context.Context) {
		gomega.Expect(bed.Client().RbacV1().ClusterRoleBindings().Delete(ctx, otherPrefix+"corepin-agent", metav1.DeleteOptions{})).To(gomega.Succeed())
		gomega.Eventually(ctx, func() error { return status(ctx, agent, "n1") }).WithTimeout(deadline).Should(gomega.Satisfy(apierrors.IsForbidden))
		node, err := bed.Client().CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		node.Labels = map[string]string{"zone": "b"}
		_, err = bed.Client().CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	})
})
