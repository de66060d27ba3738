// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/testbed"
)

// holder is somebody with exactly his own rights.
type holder struct {
	typed   kubernetes.Interface
	untyped dynamic.Interface
}

// right is a line of the table in manifests/README.md: what somebody can do, or cannot.
type right struct {
	does string
	can  bool
	try  func(ctx context.Context, h holder) error
}

const inVMs = testbed.VMNamespace

// refused reports whether an error is the API server's refusal, and nothing else that went wrong.
func refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) }

// everyOne runs the same question for several kinds of objects, and wants one answer for all of them.
func everyOne(tries ...func(ctx context.Context, h holder) error) func(context.Context, holder) error {
	return func(ctx context.Context, h holder) error {
		var last error
		for i, try := range tries {
			err := try(ctx, h)
			if err != nil && !refused(err) {
				return err
			}
			if i > 0 && (err == nil) != (last == nil) {
				return fmt.Errorf("question %d is answered with %v, and the one before it with %v", i, err, last)
			}
			last = err
		}
		return last
	}
}

func lists(resources ...schema.GroupVersionResource) func(context.Context, holder) error {
	var tries []func(context.Context, holder) error
	for _, resource := range resources {
		tries = append(tries, func(ctx context.Context, h holder) error {
			_, err := h.untyped.Resource(resource).List(ctx, metav1.ListOptions{})
			return err
		})
	}
	return everyOne(tries...)
}

func writesReport(node string, subresources ...string) func(context.Context, holder) error {
	return func(ctx context.Context, h holder) error {
		body := fmt.Appendf(nil, `{"apiVersion":"%s","kind":"%s","metadata":{"name":"%s"},"status":{"kubeletVersion":"v1.36.3","sharedCPUs":"0-1023"}}`,
			v1alpha1.GroupVersion, v1alpha1.Kind, node)
		_, err := h.untyped.Resource(v1alpha1.Resource).Patch(ctx, node, types.ApplyYAMLPatchType, body, metav1.PatchOptions{FieldManager: "x"}, subresources...)
		return err
	}
}

// writesCondition applies a condition, and more of the status.
func writesCondition(node, kind, status string, more ...string) func(context.Context, holder) error {
	return func(ctx context.Context, h holder) error {
		body := fmt.Appendf(nil, `{"apiVersion":"%s","kind":"%s","metadata":{"name":"%s"},"status":{"conditions":[`+
			`{"type":"%s","status":"%s","reason":"Test","message":"a test","lastTransitionTime":"2026-01-01T00:00:00Z"}]%s}}`,
			v1alpha1.GroupVersion, v1alpha1.Kind, node, kind, status, strings.Join(more, ""))
		force := true
		_, err := h.untyped.Resource(v1alpha1.Resource).Patch(ctx, node, types.ApplyYAMLPatchType, body, metav1.PatchOptions{FieldManager: "condition-" + kind, Force: &force}, "status")
		return err
	}
}

func writesSeen(node, more string) func(context.Context, holder) error {
	return writesCondition(node, v1alpha1.ConditionSeen, "False", more)
}

// removes takes a field of node n2's report away.
func removes(path string) func(context.Context, holder) error {
	return func(ctx context.Context, h holder) error {
		body := fmt.Appendf(nil, `[{"op":"remove","path":"%s"}]`, path)
		_, err := h.untyped.Resource(v1alpha1.Resource).Patch(ctx, "n2", types.JSONPatchType, body, metav1.PatchOptions{}, "status")
		return err
	}
}

func asks(attributes authorizationv1.ResourceAttributes) func(context.Context, holder) error {
	return func(ctx context.Context, h holder) error {
		review, err := h.typed.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx,
			&authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes}}, metav1.CreateOptions{})
		if err != nil || review.Status.Allowed {
			return err
		}
		return apierrors.NewForbidden(schema.GroupResource{Resource: attributes.Resource + "/" + attributes.Subresource}, attributes.Name, fmt.Errorf("%s", review.Status.Reason))
	}
}

func onVictim(verbs func(ctx context.Context, h holder, name string) error) func(context.Context, holder) error {
	return func(ctx context.Context, h holder) error { return verbs(ctx, h, "victim") }
}

func tellsEvent(about corev1.ObjectReference) func(context.Context, holder) error {
	return func(ctx context.Context, h holder) error {
		event := eventOf("n1", about)
		event.Namespace = about.Namespace
		_, err := h.typed.CoreV1().Events(about.Namespace).Create(ctx, event, metav1.CreateOptions{})
		return err
	}
}

func vmiObject(name, spec string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	gomega.Expect(object.UnmarshalJSON(fmt.Appendf(nil,
		`{"apiVersion":"kubevirt.io/v1","kind":"VirtualMachineInstance","metadata":{"name":"%s","namespace":"%s"},"spec":%s}`, name, inVMs, spec))).To(gomega.Succeed())
	return object
}

func makesVMI(name, spec string) func(context.Context, holder) error {
	return func(ctx context.Context, h holder) error {
		_, err := h.untyped.Resource(testbed.VMIs).Namespace(inVMs).Create(ctx, vmiObject(name, spec), metav1.CreateOptions{})
		return err
	}
}

func makesPod(name string, change func(*corev1.Pod)) func(context.Context, holder) error {
	return func(ctx context.Context, h holder) error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			SchedulerName: "corepin", Containers: []corev1.Container{{Name: "compute", Image: "x"}}}}
		change(pod)
		_, err := h.typed.CoreV1().Pods(inVMs).Create(ctx, pod, metav1.CreateOptions{})
		return err
	}
}

func coreResource(resource string) schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource(resource)
}

// rights are by holder. The agent's token is the one of node n1; the tenants have rights in one namespace, where the pod
// victim and the VMI victim are, on node n2.
var rights = map[string][]right{
	"a node's token": {
		{"lists every pod of the cluster, with its environment", true, lists(coreResource("pods"))},
		{"reads a VMI whose name it knows", true, func(ctx context.Context, h holder) error {
			_, err := h.untyped.Resource(testbed.VMIs).Namespace(inVMs).Get(ctx, "victim", metav1.GetOptions{})
			return err
		}},
		{"lists VMIs", false, lists(testbed.VMIs)},
		{"lists Nodes, reports and KubeVirt's configuration", true, everyOne(lists(coreResource("nodes"), v1alpha1.Resource),
			asks(authorizationv1.ResourceAttributes{Verb: "list", Group: "kubevirt.io", Resource: "kubevirts"}))},
		{"lists Secrets, ConfigMaps, service accounts or events", false, lists(coreResource("secrets"), coreResource("configmaps"), coreResource("serviceaccounts"), coreResource("events"))},
		{"asks any kubelet for its configuration", true, asks(authorizationv1.ResourceAttributes{Verb: "get", Resource: "nodes", Subresource: "configz", Name: "n2"})},
		{"asks a kubelet for pods or logs, or runs commands in pods", false, everyOne(
			asks(authorizationv1.ResourceAttributes{Verb: "get", Resource: "nodes", Subresource: "pods", Name: "n1"}),
			asks(authorizationv1.ResourceAttributes{Verb: "get", Resource: "nodes", Subresource: "proxy", Name: "n1"}),
			asks(authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: inVMs, Name: "victim"}),
			asks(authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods", Subresource: "log", Namespace: inVMs, Name: "victim"}))},
		{"makes, binds, changes, evicts or deletes pods", false, everyOne(
			makesPod("p", func(*corev1.Pod) {}),
			onVictim(func(ctx context.Context, h holder, name string) error {
				return h.typed.CoreV1().Pods(inVMs).Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}, metav1.CreateOptions{})
			}),
			onVictim(func(ctx context.Context, h holder, name string) error {
				_, err := h.typed.CoreV1().Pods(inVMs).Patch(ctx, name, types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
				return err
			}),
			onVictim(func(ctx context.Context, h holder, name string) error {
				return h.typed.PolicyV1().Evictions(inVMs).Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: inVMs}})
			}),
			onVictim(func(ctx context.Context, h holder, name string) error {
				return h.typed.CoreV1().Pods(inVMs).Delete(ctx, name, metav1.DeleteOptions{})
			}))},
		{"writes its own node's report, whatever it says", true, everyOne(writesReport("n1"), writesReport("n1", "status"))},
		{"writes another node's report", false, everyOne(writesReport("n2"), writesReport("n2", "status"))},
		{"deletes a report or a Node", false, everyOne(
			func(ctx context.Context, h holder) error {
				return h.untyped.Resource(v1alpha1.Resource).Delete(ctx, "n1", metav1.DeleteOptions{})
			},
			func(ctx context.Context, h holder) error {
				return h.typed.CoreV1().Nodes().Delete(ctx, "n1", metav1.DeleteOptions{})
			})},
		{"tells an event about any pod or VMI, in its own name", true, everyOne(
			tellsEvent(corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: inVMs, Name: "victim"}),
			tellsEvent(corev1.ObjectReference{APIVersion: "kubevirt.io/v1", Kind: "VirtualMachineInstance", Namespace: inVMs, Name: "victim"}))},
		{"tells an event about another Node, or about anything else", false, everyOne(
			tellsEvent(corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Namespace: "default", Name: "n2"}),
			tellsEvent(corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: inVMs, Name: "victim"}))},
	},
	"the scheduler's token": {
		{"writes condition Seen of any report", true, everyOne(writesSeen("n1", ""), writesSeen("n2", ""))},
		{"writes anything else of a report", false, everyOne(
			writesSeen("n2", `,"kubeletVersion":"v1.36.4"`), writesSeen("n2", `,"sharedCPUs":"0-7"`), writesSeen("n2", `,"reservedCPUs":"0"`),
			writesCondition("n2", v1alpha1.ConditionExact, "False"), writesCondition("n2", v1alpha1.ConditionDrifted, "False"),
			removes("/status/sharedCPUs"), removes("/status/conditions"))},
		{"makes, changes or deletes a report", false, everyOne(writesReport("n3"), writesReport("n2"), removes("/status"),
			func(ctx context.Context, h holder) error {
				return h.untyped.Resource(v1alpha1.Resource).Delete(ctx, "n2", metav1.DeleteOptions{})
			})},
		{"writes a Node, or a VMI", false, everyOne(
			func(ctx context.Context, h holder) error {
				_, err := h.typed.CoreV1().Nodes().Patch(ctx, "n2", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
				return err
			}, makesVMI("never", `{}`))},
	},
	"a tenant who may create pods": {
		{"has a pod on a node that no scheduler chose", true, makesPod("placed", func(p *corev1.Pod) { p.Spec.NodeName = "n2" })},
		{"makes a pod that looks like a launcher pod", true, makesPod("launcher", func(p *corev1.Pod) {
			p.Labels = map[string]string{"kubevirt.io": "virt-launcher"}
			p.Annotations = map[string]string{"kubevirt.io/domain": "victim"}
		})},
		{"reads or writes reports, Nodes or VMIs", false, everyOne(lists(v1alpha1.Resource, coreResource("nodes"), testbed.VMIs), writesReport("n2"), writesReport("n2", "status"))},
	},
	"a tenant who may create VMIs": {
		{"makes a VMI that corepin places", true, makesVMI("fits", `{"schedulerName":"corepin","domain":{"cpu":{"cores":2,"dedicatedCpuPlacement":true},"memory":{"guest":"64Mi"}}}`)},
		{"makes a VMI for corepin that can never work", false, makesVMI("never", `{"schedulerName":"corepin","domain":{"cpu":{"cores":2,"dedicatedCpuPlacement":true}}}`)},
		{"reads or writes reports, Nodes or pods", false, everyOne(lists(v1alpha1.Resource, coreResource("nodes"), coreResource("pods")), writesReport("n2"), writesReport("n2", "status"))},
	},
}

// tenants have what a Role in their namespace gives them.
const tenants = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: NAME, namespace: vms}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: NAME, namespace: vms}
rules: [{apiGroups: [GROUP], resources: [RESOURCE], verbs: [create, get, list, watch, update, patch, delete]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: NAME, namespace: vms}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: NAME}
subjects: [{kind: ServiceAccount, name: NAME, namespace: vms}]
`

// Who can do what to others: each line of the table in manifests/README.md, tried with exactly these rights.
var _ = ginkgo.Describe("who can do what:", ginkgo.Ordered, ginkgo.ContinueOnFailure, func() {
	holders := map[string]holder{}
	ginkgo.BeforeAll(func(ctx context.Context) {
		bed := startTestbed(ctx, nil)
		prepareVictims(ctx, bed)
		pod, err := bed.AgentPod(ctx, "n1")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		path, err := bed.PodKubeconfig(ctx, pod)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		typed, untyped := clientsOf(path)
		holders["a node's token"] = holder{typed, untyped}
		path, err = bed.ServiceAccountKubeconfig(ctx, "corepin-system", "corepin-scheduler")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		typed, untyped = clientsOf(path)
		holders["the scheduler's token"] = holder{typed, untyped}
		holders["a tenant who may create pods"] = tenant(ctx, bed, "pods", `""`, "pods")
		holders["a tenant who may create VMIs"] = tenant(ctx, bed, "vmis", "kubevirt.io", "virtualmachineinstances")
		// New policies and roles take a moment to be enforced.
		for _, who := range []string{"a node's token", "the scheduler's token"} {
			tries := 0
			// Each try writes another value. One that came before the policy has landed, and to write it again changes nothing,
			// which the policy allows. The report is asked for nothing else: what landed in it belongs to another field manager.
			gomega.Eventually(ctx, func() error {
				tries++
				return writesSeen("probe", fmt.Sprintf(`,"sharedCPUs":"0-%d"`, tries))(ctx, holders[who])
			}).WithTimeout(deadline).Should(gomega.Satisfy(refused))
		}
		gomega.Eventually(ctx, func() error {
			return makesVMI("probe", `{"schedulerName":"corepin","domain":{"cpu":{"cores":2,"dedicatedCpuPlacement":true}}}`)(ctx, holders["a tenant who may create VMIs"])
		}).WithTimeout(deadline).Should(gomega.MatchError(gomega.ContainSubstring("no memory is given")))
		gomega.Eventually(ctx, func() error {
			return makesPod("probe", func(*corev1.Pod) {})(ctx, holders["a tenant who may create pods"])
		}).WithTimeout(deadline).Should(gomega.Succeed())
	})
	for who, lines := range rights {
		for _, line := range lines {
			verb := map[bool]string{true: " can: ", false: " cannot: "}[line.can]
			ginkgo.It(who+verb+line.does, func(ctx context.Context) {
				err := line.try(ctx, holders[who])
				if line.can {
					gomega.Expect(err).NotTo(gomega.HaveOccurred())
					return
				}
				gomega.Expect(err).To(gomega.Satisfy(refused))
			})
		}
	}
})

// prepareVictims makes two Nodes with reports, a pod and a VMI that belong to node n2, and the report that is written until
// the policies are in force.
func prepareVictims(ctx context.Context, bed *testbed.Testbed) {
	ginkgo.GinkgoHelper()
	for _, name := range []string{"n1", "n2"} {
		_, err := bed.Client().CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	}
	admin := holder{bed.Client(), bed.Dynamic()}
	for _, name := range []string{"n1", "n2", "probe"} {
		gomega.Expect(writesReport(name)(ctx, admin)).To(gomega.Succeed())
	}
	gomega.Expect(writesReport("n2", "status")(ctx, admin)).To(gomega.Succeed())
	gomega.Expect(writesCondition("n2", v1alpha1.ConditionExact, "True")(ctx, admin)).To(gomega.Succeed())
	gomega.Expect(makesPod("victim", func(p *corev1.Pod) { p.Spec.NodeName = "n2" })(ctx, admin)).To(gomega.Succeed())
	gomega.Expect(makesVMI("victim", `{"domain":{"cpu":{"cores":2,"dedicatedCpuPlacement":true},"memory":{"guest":"64Mi"}}}`)(ctx, admin)).To(gomega.Succeed())
}

// tenant has all rights to one resource in the namespace of the VMs.
func tenant(ctx context.Context, bed *testbed.Testbed, name, group, resource string) holder {
	ginkgo.GinkgoHelper()
	manifest := strings.NewReplacer("NAME", name, "GROUP", group, "RESOURCE", resource).Replace(tenants)
	gomega.Eventually(ctx, func() error { return bed.Apply(ctx, []byte(manifest)) }).WithTimeout(deadline).Should(gomega.Succeed())
	path, err := bed.ServiceAccountKubeconfig(ctx, inVMs, name)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	typed, untyped := clientsOf(path)
	return holder{typed, untyped}
}
