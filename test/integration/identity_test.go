// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/testbed"
)

// That the shipped rights are enough is shown by everything else in this suite, which runs with them.
// Here: that they are not more.
var _ = ginkgo.Describe("the shipped identities", ginkgo.Ordered, func() {
	var bed *testbed.Testbed
	ginkgo.BeforeAll(func(ctx context.Context) { bed = startTestbed(ctx, nil) })

	clients := func(ctx context.Context, account string) (kubernetes.Interface, dynamic.Interface) {
		ginkgo.GinkgoHelper()
		path, err := bed.ServiceAccountKubeconfig(ctx, testbed.SystemNamespace, account)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		return clientsOf(path)
	}
	forbidden := gomega.Satisfy(apierrors.IsForbidden)

	ginkgo.It("do not let the agent touch pods, secrets, other ConfigMaps, or remove anything", func(ctx context.Context) {
		typed, untyped := clients(ctx, "corepin-agent")
		_, err := typed.CoreV1().Secrets("").List(ctx, metav1.ListOptions{})
		gomega.Expect(err).To(forbidden)
		_, err = typed.CoreV1().ConfigMaps("kube-system").List(ctx, metav1.ListOptions{})
		gomega.Expect(err).To(forbidden)
		_, err = typed.CoreV1().Pods("vms").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, metav1.CreateOptions{})
		gomega.Expect(err).To(forbidden)
		gomega.Expect(typed.CoreV1().Pods("vms").Delete(ctx, "p", metav1.DeleteOptions{})).To(forbidden)
		gomega.Expect(typed.CoreV1().Nodes().Delete(ctx, "n", metav1.DeleteOptions{})).To(forbidden)
		_, err = typed.CoreV1().Nodes().Patch(ctx, "n", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{}, "status")
		gomega.Expect(err).To(forbidden)
		gomega.Expect(untyped.Resource(v1alpha1.Resource).Delete(ctx, "n", metav1.DeleteOptions{})).To(forbidden)
	})

	// The kubelet asks the API server just this when somebody wants its /configz, or to run a command in a pod.
	ginkgo.It("let the agent read a kubelet's configuration and do nothing else with kubelets", func(ctx context.Context) {
		for subresource, want := range map[string]bool{"configz": true, "proxy": false, "pods": false, "log": false, "metrics": false, "stats": false} {
			review, err := bed.Client().AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "system:serviceaccount:corepin-system:corepin-agent",
				Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:corepin-system", "system:authenticated"},
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "nodes", Subresource: subresource, Name: "n1"},
			}}, metav1.CreateOptions{})
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			gomega.Expect(review.Status.Allowed).To(gomega.Equal(want), subresource)
		}
	})

	// Of a report it writes condition Seen: see rights_test.go.
	ginkgo.It("do not let the scheduler write nodes, reports beside their status, or read secrets", func(ctx context.Context) {
		typed, untyped := clients(ctx, "corepin-scheduler")
		_, err := typed.CoreV1().Secrets("").List(ctx, metav1.ListOptions{})
		gomega.Expect(err).To(forbidden)
		_, err = typed.CoreV1().Nodes().Patch(ctx, "n", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
		gomega.Expect(err).To(forbidden)
		_, err = untyped.Resource(v1alpha1.Resource).Patch(ctx, "n", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
		gomega.Expect(err).To(forbidden)
		gomega.Expect(untyped.Resource(v1alpha1.Resource).Delete(ctx, "n", metav1.DeleteOptions{})).To(forbidden)
	})
})

// clientsOf act as whoever a kubeconfig is for.
func clientsOf(kubeconfig string) (kubernetes.Interface, dynamic.Interface) {
	ginkgo.GinkgoHelper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	typed, err := kubernetes.NewForConfig(config)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	untyped, err := dynamic.NewForConfig(config)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return typed, untyped
}
