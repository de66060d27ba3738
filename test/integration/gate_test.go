// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/story"
	"corepin.dev/corepin/test/harness/testbed"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// kubeVirtDefinition defines KubeVirt's own kind where there is no KubeVirt. The content is kept as it is.
const kubeVirtDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: kubevirts.kubevirt.io}
spec:
  group: kubevirt.io
  scope: Namespaced
  names: {kind: KubeVirt, listKind: KubeVirtList, plural: kubevirts, singular: kubevirt}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

var _ = ginkgo.Describe("the labels", ginkgo.Ordered, func() {
	var (
		bed *testbed.Testbed
		see agentWitness
	)
	labels := func(ctx context.Context, want string) {
		ginkgo.GinkgoHelper()
		start := time.Now()
		gomega.Eventually(ctx, func() string { return see.label(ctx, story.Small) }).WithTimeout(deadline).WithPolling(50 * time.Millisecond).Should(gomega.Equal(want))
		ginkgo.GinkgoWriter.Printf("labels are %q after %s\n", want, time.Since(start).Round(10*time.Millisecond))
	}
	kubectl := func(ctx context.Context, args ...string) {
		ginkgo.GinkgoHelper()
		_, err := bed.Kubectl(ctx, args...)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	}
	kubeVirt := func(ctx context.Context, gates string) {
		ginkgo.GinkgoHelper()
		gomega.Expect(bed.Apply(ctx, fmt.Appendf(nil, "apiVersion: kubevirt.io/v1\nkind: KubeVirt\nmetadata: {name: kubevirt, namespace: kubevirt}\n"+
			"spec: {configuration: {developerConfiguration: %s}}\n", gates))).To(gomega.Succeed())
	}
	ginkgo.BeforeAll(func(ctx context.Context) {
		bed = startTestbed(ctx, machines(story.Small))
		see = agentWitness{witness{bed}, story.Small}
		labels(ctx, "true/true")
	})

	ginkgo.It("follow the ConfigMap, other gates or not", func(ctx context.Context) {
		gomega.Expect(bed.SetGates(ctx, "DataVolumes")).To(gomega.Succeed())
		labels(ctx, "/")
		see.eventually(ctx, v1alpha1.ConditionLabelled, "False", "FeatureGateOff", "ConfigMap kubevirt-config")
		gomega.Expect(bed.SetGates(ctx, "DataVolumes,CPUManager")).To(gomega.Succeed())
		labels(ctx, "true/true")
	})

	ginkgo.It("follow the KubeVirt object, whenever it comes and goes", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, []byte(kubeVirtDefinition))).To(gomega.Succeed())
		kubeVirt(ctx, "{disabledFeatureGates: [CPUManager]}")
		labels(ctx, "/")
		see.eventually(ctx, v1alpha1.ConditionLabelled, "False", "FeatureGateOff", "disabledFeatureGates of the KubeVirt object")
		gomega.Expect(bed.SetGates(ctx, "DataVolumes")).To(gomega.Succeed())
		kubeVirt(ctx, "{featureGates: [Root, CPUManager], disabledFeatureGates: []}")
		labels(ctx, "true/true")
		kubectl(ctx, "delete", "configmap", testbed.GateConfigMap, "--namespace="+testbed.GateNamespace)
		kubeVirt(ctx, "{featureGates: [Root]}")
		labels(ctx, "/")
		see.eventually(ctx, v1alpha1.ConditionLabelled, "False", "FeatureGateOff", "which does not name it")
		gomega.Expect(bed.SetGates(ctx, "DataVolumes,CPUManager")).To(gomega.Succeed())
		labels(ctx, "true/true")
		kubeVirt(ctx, "{disabledFeatureGates: [CPUManager]}")
		labels(ctx, "/")
		// The kind goes, and the object with it: what the ConfigMap says holds again.
		kubectl(ctx, "delete", "customresourcedefinition", "kubevirts.kubevirt.io")
		labels(ctx, "true/true")
	})

	ginkgo.It("are a person's where a person has set them, and the condition says so", func(ctx context.Context) {
		kubectl(ctx, "label", "node", story.Small, "--overwrite", "cpumanager=false")
		see.eventually(ctx, v1alpha1.ConditionLabelled, "False", "SetOtherwise", "cpumanager=false was set by kubectl")
		see.eventuallyEvent(ctx, "LabelConflict")
		gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("false/true"))
		kubectl(ctx, "label", "node", story.Small, "cpumanager-")
		labels(ctx, "true/true")
		see.eventually(ctx, v1alpha1.ConditionLabelled, "True", "CPUManagerRuns", "")
	})

	ginkgo.It("are left to virt-handler while its heartbeat is alive, and its mistake is reported", func(ctx context.Context) {
		beat := fmt.Sprintf("kubevirt.io/heartbeat=%q", time.Now().UTC().Format(time.RFC3339))
		kubectl(ctx, "annotate", "node", story.Small, beat)
		see.eventually(ctx, v1alpha1.ConditionLabelled, "True", "LeftToKubeVirt", "")
		gomega.Expect(bed.SetGates(ctx, "DataVolumes")).To(gomega.Succeed())
		kubectl(ctx, "label", "node", story.Small, "--overwrite", "kubevirt.io/cpumanager=false")
		see.eventually(ctx, v1alpha1.ConditionLabelled, "False", "KubeVirtDisagrees", "kubevirt.io/cpumanager=false")
		see.eventuallyEvent(ctx, "LabelDisagreement")
		gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("true/false"))
		stale := fmt.Sprintf("kubevirt.io/heartbeat=%q", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
		kubectl(ctx, "annotate", "node", story.Small, "--overwrite", stale)
		labels(ctx, "/false") // what the agent had set it gives up; the other is virt-handler's last word
	})

	ginkgo.It("of agents of two versions stay, both", func(ctx context.Context) {
		kubectl(ctx, "label", "node", story.Small, "kubevirt.io/cpumanager-")
		gomega.Expect(bed.SetGates(ctx, "CPUManager")).To(gomega.Succeed())
		labels(ctx, "true/true")
		newer := `{"apiVersion":"v1","kind":"Node","metadata":{"labels":{"cpumanager":"true","kubevirt.io/cpumanager":"true","corepin.dev/newer":"yes"}}}`
		_, err := bed.Client().CoreV1().Nodes().Patch(ctx, story.Small, "application/apply-patch+yaml", []byte(newer), metav1.PatchOptions{FieldManager: "corepin-agent"})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		third := func() string {
			node, err := bed.Client().CoreV1().Nodes().Get(ctx, story.Small, metav1.GetOptions{})
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			return node.Labels["corepin.dev/newer"]
		}
		gomega.Consistently(ctx, third).WithTimeout(2 * time.Second).Should(gomega.Equal("yes"))
		gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("true/true"))
	})
})
