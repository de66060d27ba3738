// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/testbed"
)

// eventOf is an event as the agent of a node tells it.
func eventOf(node string, about corev1.ObjectReference) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "told-", Namespace: metav1.NamespaceDefault}, InvolvedObject: about,
		Reason: "Test", Message: "a test", Type: corev1.EventTypeNormal, Count: 1,
		FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(),
		Source:              corev1.EventSource{Component: "corepin-agent", Host: node},
		ReportingController: "corepin-agent", ReportingInstance: node,
	}
}

// Who steals the token of one node's agent has that node. Here: and no other.
var _ = ginkgo.Describe("an agent's token", ginkgo.Ordered, func() {
	var (
		bed     *testbed.Testbed
		typed   kubernetes.Interface
		untyped dynamic.Interface
	)
	forbidden := func(what string) gomega.OmegaMatcher {
		return gomega.And(gomega.Satisfy(apierrors.IsForbidden), gomega.MatchError(gomega.ContainSubstring(what)))
	}
	reportOf := func(node, owner string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.Kind,
			"metadata": map[string]any{"name": node, "ownerReferences": []any{
				map[string]any{"apiVersion": "v1", "kind": "Node", "name": owner, "uid": "00000000-0000-0000-0000-000000000001"},
			}},
		}}
	}
	statusOf := func(node string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.Kind, "metadata": map[string]any{"name": node},
			"status": map[string]any{"kubeletVersion": "v1.36.3"},
		}}
	}
	options := metav1.ApplyOptions{FieldManager: "corepin-agent", Force: true}
	patch := func(ctx context.Context, node, body string) error {
		_, err := typed.CoreV1().Nodes().Patch(ctx, node, types.ApplyYAMLPatchType, []byte(body), metav1.PatchOptions{FieldManager: "corepin-agent"})
		return err
	}
	merge := func(ctx context.Context, body string) error {
		_, err := typed.CoreV1().Nodes().Patch(ctx, "n1", types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "thief"})
		return err
	}

	ginkgo.BeforeAll(func(ctx context.Context) {
		bed = startTestbed(ctx, nil)
		for _, name := range []string{"n1", "n2"} {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": "a"}}}
			_, err := bed.Client().CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
		}
		pod, err := bed.AgentPod(ctx, "n1")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		path, err := bed.PodKubeconfig(ctx, pod)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		typed, untyped = clientsOf(path)
		// A new policy takes a moment to be enforced.
		gomega.Eventually(ctx, func() error {
			_, err := untyped.Resource(v1alpha1.Resource).Apply(ctx, "n2", reportOf("n2", "n2"), metav1.ApplyOptions{FieldManager: "x", Force: true, DryRun: []string{"All"}})
			return err
		}).WithTimeout(deadline).Should(forbidden("its own node's objects only"))
	})

	ginkgo.It("writes its own node's report, and no other's", func(ctx context.Context) {
		reports := untyped.Resource(v1alpha1.Resource)
		_, err := reports.Apply(ctx, "n1", reportOf("n1", "n1"), options)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, err = reports.ApplyStatus(ctx, "n1", statusOf("n1"), options)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())

		_, err = reports.Apply(ctx, "n2", reportOf("n2", "n2"), options)
		gomega.Expect(err).To(forbidden("the corepin-agent of node n1 writes its own node's objects only, not n2"))
		_, err = bed.Dynamic().Resource(v1alpha1.Resource).Apply(ctx, "n2", reportOf("n2", "n2"), options)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, err = reports.ApplyStatus(ctx, "n2", statusOf("n2"), options)
		gomega.Expect(err).To(forbidden("not n2"))
		_, err = reports.Apply(ctx, "n1", reportOf("n1", "n2"), options)
		gomega.Expect(err).To(forbidden("owned by the Node of its name"))
	})

	ginkgo.It("does not say of itself whether its node is heard from", func(ctx context.Context) {
		reports := untyped.Resource(v1alpha1.Resource)
		_, err := reports.Apply(ctx, "n1", reportOf("n1", "n1"), options)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(writesSeen("n1", "")(ctx, holder{typed, untyped})).To(forbidden("does not write condition Seen"))
		gomega.Expect(writesSeen("n1", "")(ctx, holder{bed.Client(), bed.Dynamic()})).To(gomega.Succeed())
		_, err = reports.ApplyStatus(ctx, "n1", statusOf("n1"), options)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, err = reports.Patch(ctx, "n1", types.MergePatchType, []byte(`{"status":{"conditions":null}}`), metav1.PatchOptions{}, "status")
		gomega.Expect(err).To(forbidden("does not write condition Seen"))
	})

	ginkgo.It("changes nothing of its report but the status and the owner", func(ctx context.Context) {
		reports := untyped.Resource(v1alpha1.Resource)
		const rest, owned = "nothing of a NodeCPU but its status and its owner", "owned by the Node of its name"
		owner := func(more string) string {
			return `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n1","uid":"1"` + more + `}]}}`
		}
		for body, why := range map[string]string{
			`{"metadata":{"finalizers":["a.example/b"]}}`:                                                     rest,
			`{"metadata":{"labels":{"a":"b"}}}`:                                                               rest,
			`{"metadata":{"annotations":{"a":"b"}}}`:                                                          rest,
			`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"n1","uid":"1"}]}}`: owned,
			owner(`,"blockOwnerDeletion":true`):                                                               owned,
			owner(`,"controller":true`):                                                                       owned,
		} {
			_, err := reports.Patch(ctx, "n1", types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "thief"})
			gomega.Expect(err).To(forbidden(why), body)
		}
		_, err := reports.Patch(ctx, "n1", types.MergePatchType, []byte(owner("")), metav1.PatchOptions{FieldManager: "thief"})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())

		// What others wrote on it keeps nobody from reporting, and stays.
		foreign := `{"metadata":{"labels":{"team":"a"},"finalizers":["a.example/b"],"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"c","uid":"2"}]}}`
		_, err = bed.Dynamic().Resource(v1alpha1.Resource).Patch(ctx, "n1", types.MergePatchType, []byte(foreign), metav1.PatchOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, err = reports.Apply(ctx, "n1", reportOf("n1", "n1"), options)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, err = reports.ApplyStatus(ctx, "n1", statusOf("n1"), options)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, err = reports.Patch(ctx, "n1", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		gomega.Expect(err).To(forbidden(rest))
		_, err = bed.Dynamic().Resource(v1alpha1.Resource).Patch(ctx, "n1", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	})

	ginkgo.It("sets the two labels of its own Node to true, and nothing else", func(ctx context.Context) {
		const head = "apiVersion: v1\nkind: Node\nmetadata:\n  labels: "
		gomega.Expect(patch(ctx, "n1", head+`{cpumanager: "true", kubevirt.io/cpumanager: "true"}`)).To(gomega.Succeed())
		gomega.Expect(patch(ctx, "n1", head+`{cpumanager: "true"}`)).To(gomega.Succeed())
		gomega.Expect(patch(ctx, "n2", head+`{cpumanager: "true"}`)).To(forbidden("not n2"))
		gomega.Expect(patch(ctx, "n1", head+`{cpumanager: "maybe"}`)).To(forbidden("to true, and to nothing else"))
		gomega.Expect(patch(ctx, "n1", head+`{cpumanager: "true", role: "db"}`)).To(forbidden("no labels of a Node but"))
		for body, why := range map[string]string{
			`{"metadata":{"labels":{"zone":"b"}}}`:                   "no labels of a Node but",
			`{"metadata":{"labels":{"zone":null}}}`:                  "no labels of a Node but",
			`{"metadata":{"annotations":{"a":"b"}}}`:                 "nothing of a Node but its labels",
			`{"metadata":{"finalizers":["a.example/b"]}}`:            "nothing of a Node but its labels",
			`{"spec":{"unschedulable":true}}`:                        "nothing of a Node but its labels",
			`{"spec":{"taints":[{"key":"a","effect":"NoExecute"}]}}`: "nothing of a Node but its labels",
			`{"spec":{"taints":[{"key":"startup-taint.cluster-autoscaler.kubernetes.io/corepin","effect":"NoSchedule"}]}}`: "nothing of a Node but its labels",
			`{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":"true"}}}`:                                     "no labels of a Node but",
		} {
			gomega.Expect(merge(ctx, body)).To(forbidden(why), body)
		}
		node, err := bed.Client().CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(node.Labels).To(gomega.Equal(map[string]string{"zone": "a", "cpumanager": "true"}))
	})

	ginkgo.It("tells events in its own name, about its own Node, pods and VMs", func(ctx context.Context) {
		node := corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: "n1"}
		own := eventOf("n1", node)
		told, err := typed.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, own, metav1.CreateOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		patched, err := typed.CoreV1().Events(metav1.NamespaceDefault).Patch(ctx, told.Name, types.MergePatchType, []byte(`{"count":2}`), metav1.PatchOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(patched.Count).To(gomega.BeEquivalentTo(2))
		for _, kind := range []string{"Pod", "VirtualMachineInstance"} {
			about := corev1.ObjectReference{Kind: kind, Name: "a", Namespace: metav1.NamespaceDefault}
			_, err = typed.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, eventOf("n1", about), metav1.CreateOptions{})
			gomega.Expect(err).NotTo(gomega.HaveOccurred(), kind)
		}
		const meta = "no labels, annotations, finalizers or owners"
		const name, about = "in its own name and that of its own node only", "about its own Node, pods and virtual machine instances only"
		for why, spoil := range map[string]func(*corev1.Event){
			name + " (source.host)":         func(e *corev1.Event) { e.Source.Host = "n2" },
			name + " (no source)":           func(e *corev1.Event) { e.Source = corev1.EventSource{} },
			name + " (component)":           func(e *corev1.Event) { e.Source.Component = "kubelet" },
			name + " (reportingInstance)":   func(e *corev1.Event) { e.ReportingInstance = "n2" },
			name + " (reportingController)": func(e *corev1.Event) { e.ReportingController = "kubelet" },
			about + " (another Node)":       func(e *corev1.Event) { e.InvolvedObject.Name = "n2" },
			about + " (another kind)":       func(e *corev1.Event) { e.InvolvedObject.Kind = "Secret" },
			meta + " (labels)":              func(e *corev1.Event) { e.Labels = map[string]string{"a": "b"} },
			meta + " (annotations)":         func(e *corev1.Event) { e.Annotations = map[string]string{"a": "b"} },
			meta + " (finalizers)":          func(e *corev1.Event) { e.Finalizers = []string{"a.example/b"} },
			meta + " (owners)": func(e *corev1.Event) {
				e.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: "1"}}
			},
		} {
			event := eventOf("n1", node)
			spoil(event)
			_, err = typed.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, event, metav1.CreateOptions{})
			want, _, _ := strings.Cut(why, " (")
			gomega.Expect(err).To(forbidden(want), why)
		}

		// The kubelet's events, and those of other agents, are nothing to it; and the policy is nothing to others.
		foreign := eventOf("n1", node)
		foreign.Source.Component, foreign.ReportingController = "kubelet", "kubelet"
		others, err := bed.Client().CoreV1().Events(metav1.NamespaceDefault).Create(ctx, foreign, metav1.CreateOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		taken := `{"source":{"component":"corepin-agent"},"reportingComponent":"corepin-agent"}`
		_, err = typed.CoreV1().Events(metav1.NamespaceDefault).Patch(ctx, others.Name, types.MergePatchType, []byte(taken), metav1.PatchOptions{})
		gomega.Expect(err).To(forbidden("its own node's events only"))
		_, err = typed.CoreV1().Events(metav1.NamespaceDefault).Patch(ctx, told.Name, types.MergePatchType,
			[]byte(`{"involvedObject":{"kind":"Pod","name":"b"}}`), metav1.PatchOptions{})
		gomega.Expect(err).To(gomega.HaveOccurred())
		_, err = typed.EventsV1().Events(metav1.NamespaceDefault).Create(ctx, &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "e"}, Regarding: node, Reason: "Test", Action: "Test", EventTime: metav1.NowMicro(),
			Type: corev1.EventTypeNormal, ReportingController: "corepin-agent", ReportingInstance: "n1"}, metav1.CreateOptions{})
		gomega.Expect(err).To(gomega.Satisfy(apierrors.IsForbidden))
	})

	ginkgo.It("is worth nothing when it is bound to no pod, or when its pod is gone", func(ctx context.Context) {
		path, err := bed.ServiceAccountKubeconfig(ctx, testbed.SystemNamespace, "corepin-agent")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, unbound := clientsOf(path)
		_, err = unbound.Resource(v1alpha1.Resource).ApplyStatus(ctx, "n1", statusOf("n1"), options)
		gomega.Expect(err).To(forbidden("bound to no node"))

		none := int64(0)
		gomega.Expect(bed.Client().CoreV1().Pods(testbed.SystemNamespace).Delete(ctx, "corepin-agent-n1", metav1.DeleteOptions{GracePeriodSeconds: &none})).To(gomega.Succeed())
		gomega.Eventually(ctx, func() error { // tokens are cached for ten seconds
			_, err := untyped.Resource(v1alpha1.Resource).ApplyStatus(ctx, "n1", statusOf("n1"), options)
			return err
		}).WithTimeout(deadline).Should(gomega.Satisfy(apierrors.IsUnauthorized))
	})
})
