// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/story"
	"corepin.dev/corepin/test/harness/testbed"
)

// What becomes of the report and of the labels when something happens to the node, its kubelet or its machine.
var _ = ginkgo.Describe("the agent, on a node that changes,", ginkgo.Ordered, func() {
	var (
		bed *testbed.Testbed
		see agentWitness
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		bed = startTestbed(ctx, machines(story.Small))
		see = agentWitness{witness{bed}, story.Small}
		gomega.Eventually(ctx, func() string { return see.label(ctx, story.Small) }).WithTimeout(deadline).Should(gomega.Equal("true/true"))
		see.eventually(ctx, v1alpha1.ConditionLabelled, "True", "CPUManagerRuns", "")
		see.eventuallyEvent(ctx, "CPUManagerDetected")
	})

	ginkgo.It("says of each source that it does not have what follows", func(ctx context.Context) {
		for _, want := range []string{"its configuration file is believed instead", "computed from the configuration"} {
			see.eventually(ctx, v1alpha1.ConditionSourcesComplete, "False", "ConfigzUnreadable", want)
		}
		see.eventually(ctx, v1alpha1.ConditionExact, "True", "PredictableByFile", "")
	})

	ginkgo.It("writes nothing while nothing happens", func(ctx context.Context) {
		see.eventually(ctx, v1alpha1.ConditionSeen, "True", "AgentReady", "") // the scheduler's, which comes after the report
		report, node := see.versions(ctx)
		gomega.Consistently(ctx, func() string { got, _ := see.versions(ctx); return got }).WithTimeout(15 * time.Second).Should(gomega.Equal(report))
		_, after := see.versions(ctx)
		gomega.Expect(after).To(gomega.Equal(node), "the agent's part of the Node")
	})

	ginkgo.It("keeps report and label when the state file is deleted, until the kubelet has a new one", func(ctx context.Context) {
		gomega.Expect(bed.Nodes[story.Small].Sim.Kill()).To(gomega.Succeed())
		before := see.report(ctx)
		gomega.Expect(os.Remove(see.file("cpu_manager_state"))).To(gomega.Succeed())
		see.eventually(ctx, v1alpha1.ConditionCPUManagerRunning, "True", "StateUnreadable", "no such file")
		see.eventuallyEvent(ctx, "CPUManagerStateUnreadable")
		gomega.Expect(see.report(ctx).Status.SharedCPUs).To(gomega.Equal(before.Status.SharedCPUs))
		gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("true/true"))
		gomega.Expect(bed.Nodes[story.Small].Sim.Restart()).To(gomega.Succeed())
		see.eventually(ctx, v1alpha1.ConditionCPUManagerRunning, "True", "PolicyStatic", "")
	})

	ginkgo.It("follows a kubelet that was restarted with other settings", func(ctx context.Context) {
		node := bed.Nodes[story.Small]
		changed := node.Kubelet
		changed.TopologyManagerPolicy = "best-effort"
		gomega.Expect(node.Sim.Reconfigure(changed)).To(gomega.Succeed())
		see.eventuallyEvent(ctx, "CPUManagerPolicyChanged")
		gomega.Expect(see.report(ctx).Status.TopologyManager.Policy).To(gomega.Equal("best-effort"))
		changed.CPUManagerPolicy, changed.CPUManagerPolicyOptions = "none", nil
		gomega.Expect(node.Sim.Reconfigure(changed)).To(gomega.Succeed())
		see.eventually(ctx, v1alpha1.ConditionCPUManagerRunning, "False", "PolicyNone", "")
		see.eventuallyEvent(ctx, "CPUManagerGone")
		gomega.Eventually(ctx, func() string { return see.label(ctx, story.Small) }).WithTimeout(deadline).Should(gomega.Equal("/"))
		see.eventually(ctx, v1alpha1.ConditionLabelled, "False", "CPUManagerDoesNotRun", "")
		gomega.Expect(node.Sim.Reconfigure(node.Kubelet)).To(gomega.Succeed())
		gomega.Eventually(ctx, func() string { return see.label(ctx, story.Small) }).WithTimeout(deadline).Should(gomega.Equal("true/true"))
	})

	ginkgo.It("says that CPUs went offline, or threads were switched off, and keeps the label", func(ctx context.Context) {
		online := filepath.Join(bed.Nodes[story.Small].Sim.SysfsDir(), "devices/system/cpu/online")
		all, err := os.ReadFile(online)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		for what, cpus := range map[string]string{"CPU 7 is offline": "0-6\n", "SMT is off": "0-3\n"} {
			ginkgo.By(what)
			gomega.Expect(os.WriteFile(online, []byte(cpus), 0o644)).To(gomega.Succeed())
			see.eventually(ctx, v1alpha1.ConditionExact, "False", "Contradiction", "are in no core of the report")
			see.eventually(ctx, v1alpha1.ConditionRestartSafe, "False", "WouldNotStart", "")
			gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("true/true"))
			gomega.Expect(os.WriteFile(online, all, 0o644)).To(gomega.Succeed())
			see.eventually(ctx, v1alpha1.ConditionExact, "True", "PredictableByFile", "")
		}
		see.eventuallyEvent(ctx, "CPUPredictionInexact")
	})

	ginkgo.It("warns when the configuration is changed so that the kubelet would not start again", func(ctx context.Context) {
		config, err := os.ReadFile(see.file("config.yaml"))
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		replace(see.file("config.yaml"), []byte(strings.Replace(string(config), "reservedSystemCPUs: 0,4", "reservedSystemCPUs: 1,5", 1)))
		see.eventually(ctx, v1alpha1.ConditionRestartSafe, "True", "", "")
		replace(see.file("config.yaml"), []byte(strings.Replace(string(config), "cpuManagerPolicy: static", "cpuManagerPolicy: none", 1)))
		see.eventually(ctx, v1alpha1.ConditionRestartSafe, "False", "WouldNotStart", "cpu_manager_state was written with static")
		see.eventually(ctx, v1alpha1.ConditionExact, "False", "ConfigPending", "")
		see.eventuallyEvent(ctx, "KubeletRestartUnsafe")
		gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("true/true"))
		replace(see.file("config.yaml"), config)
		see.eventually(ctx, v1alpha1.ConditionRestartSafe, "True", "KeepsEverything", "")
	})

	ginkgo.It("leaves a newer agent's report alone, and goes on when it is gone", func(ctx context.Context) {
		const crdName = "nodecpus.corepin.dev"
		field := `[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/brandNew","value":{"type":"string"}}]`
		_, err := bed.Dynamic().Resource(definitions).Patch(ctx, crdName, types.JSONPatchType, []byte(field), metav1.PatchOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		reports := bed.Dynamic().Resource(v1alpha1.Resource)
		gomega.Eventually(ctx, func(g gomega.Gomega) { // a changed definition takes a moment to be served
			object, err := reports.Patch(ctx, story.Small, types.MergePatchType, []byte(`{"status":{"brandNew":"x"}}`), metav1.PatchOptions{FieldManager: "corepin-agent"}, "status")
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(object.Object["status"]).To(gomega.HaveKeyWithValue("brandNew", "x"))
		}).WithTimeout(deadline).Should(gomega.Succeed())
		see.eventuallyEvent(ctx, "ReportRefused")
		version, _ := see.versions(ctx)
		gomega.Expect(bed.Nodes[story.Small].Agent.Restart()).To(gomega.Succeed())
		gomega.Consistently(ctx, func() string { got, _ := see.versions(ctx); return got }).WithTimeout(5 * time.Second).Should(gomega.Equal(version))
		gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("true/true"))
		_, err = reports.Patch(ctx, story.Small, types.MergePatchType, []byte(`{"status":{"brandNew":null,"sharedCPUs":"0"}}`), metav1.PatchOptions{FieldManager: "x"}, "status")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Eventually(ctx, func() string { return see.report(ctx).Status.SharedCPUs }).WithTimeout(deadline).Should(gomega.Equal("0-7"))
	})

	ginkgo.It("goes on where the definition of NodeCPU is older, without the fields that it does not have", func(ctx context.Context) {
		const name, property = "nodecpus.corepin.dev", "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/summary"
		node, reports, crds := bed.Nodes[story.Small], bed.Dynamic().Resource(v1alpha1.Resource), bed.Dynamic().Resource(definitions)
		status := func() v1alpha1.NodeCPUStatus { return see.report(ctx).Status }
		definition, err := crds.Get(ctx, name, metav1.GetOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, err = crds.Patch(ctx, name, types.JSONPatchType, fmt.Appendf(nil, `[{"op":"remove","path":%q}]`, property), metav1.PatchOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Eventually(ctx, status).WithTimeout(deadline).Should(gomega.HaveField("Summary", gomega.BeZero()), "the definition is served")
		changed := node.Kubelet
		changed.TopologyManagerPolicy = "best-effort"
		gomega.Expect(node.Sim.Reconfigure(changed)).To(gomega.Succeed())
		gomega.Eventually(ctx, status).WithTimeout(deadline).Should(gomega.HaveField("TopologyManager.Policy", "best-effort"))
		gomega.Expect(status().Summary).To(gomega.BeZero())

		_, err = crds.Patch(ctx, name, types.JSONPatchType, fmt.Appendf(nil, `[{"op":"add","path":%q,"value":%s}]`, property, summaryOf(definition)), metav1.PatchOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			object, err := reports.Patch(ctx, story.Small, types.MergePatchType, []byte(`{"status":{"summary":{"cpus":0,"granted":0,"free":1000,"reserved":0,"numaNodes":0}}}`), metav1.PatchOptions{FieldManager: "x"}, "status")
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(object.Object["status"]).To(gomega.HaveKey("summary"))
		}).WithTimeout(deadline).Should(gomega.Succeed())
		gomega.Eventually(ctx, status).WithTimeout(deadline).Should(gomega.HaveField("Summary.Free", gomega.And(gomega.BeNumerically(">", 0), gomega.BeNumerically("<", 1000))))
		gomega.Expect(node.Sim.Reconfigure(node.Kubelet)).To(gomega.Succeed())
	})

	// The last: the scheduler ends when it loses its lease.
	ginkgo.It("is right again after the API server was away", func(ctx context.Context) {
		gomega.Expect(bed.Nodes[story.Small].Sim.Kill()).To(gomega.Succeed())
		server := bed.Process("kube-apiserver")
		gomega.Expect(server.Kill()).To(gomega.Succeed())
		replace(see.file("cpu_manager_state"), []byte(`{"policyName":"static","defaultCpuSet":"0,2-4,6-7","entries":{"late":{"c":"1,5"}},"checksum":1}`))
		gomega.Expect(server.Restart()).To(gomega.Succeed())
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			report, err := bed.Report(ctx, story.Small)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(report.Status.Granted).To(gomega.ContainElement(gomega.HaveField("PodUID", types.UID("late"))))
			g.Expect(report.Status.SharedCPUs).To(gomega.Equal("0,2-4,6-7"))
		}).WithTimeout(2 * deadline).Should(gomega.Succeed())
		gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("true/true"))
	})
})

// agentWitness asks about what one node's agent says.
type agentWitness struct {
	witness
	node string
}

func (w agentWitness) report(ctx context.Context) *v1alpha1.NodeCPU {
	ginkgo.GinkgoHelper()
	report, err := w.bed.Report(ctx, w.node)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return report
}

// file is a file of the node's kubelet.
func (w agentWitness) file(name string) string {
	return filepath.Join(w.bed.Nodes[w.node].Sim.KubeletRootDir(), name)
}

// versions are those of the report, and of what the agent owns of the Node.
func (w agentWitness) versions(ctx context.Context) (report, node string) {
	ginkgo.GinkgoHelper()
	object, err := w.bed.Client().CoreV1().Nodes().Get(ctx, w.node, metav1.GetOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	for _, entry := range object.ManagedFields {
		if entry.Manager == "corepin-agent" {
			node += entry.Time.String()
		}
	}
	return w.report(ctx).ResourceVersion, node
}

// eventually waits for a condition of the report; an empty reason is any.
func (w agentWitness) eventually(ctx context.Context, kind, status, reason, message string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		report, err := w.bed.Report(ctx, w.node)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(conditionsText(report)).To(gomega.MatchRegexp(`(?m)^%s=%s %s: .*%s`, kind, status, orAny(reason), message))
	}).WithTimeout(deadline).Should(gomega.Succeed())
}

func orAny(reason string) string {
	if reason == "" {
		return `\w+`
	}
	return reason
}

func (w agentWitness) eventuallyEvent(ctx context.Context, reason string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		events, err := w.bed.Client().CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: fmt.Sprintf("involvedObject.kind=Node,involvedObject.name=%s,reason=%s", w.node, reason)})
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(events.Items).NotTo(gomega.BeEmpty(), reason)
	}).WithTimeout(deadline).Should(gomega.Succeed())
}

// summaryOf is the schema of the summary in the definition of NodeCPU.
func summaryOf(definition *unstructured.Unstructured) []byte {
	ginkgo.GinkgoHelper()
	versions, _, err := unstructured.NestedSlice(definition.Object, "spec", "versions")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	schema, found, err := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "status", "properties", "summary")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(found).To(gomega.BeTrue())
	data, err := json.Marshal(schema)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return data
}
