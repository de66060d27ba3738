// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/story"
	"corepin.dev/corepin/test/harness/testbed"
)

var _ = ginkgo.Describe("bad input", ginkgo.Ordered, func() {
	var (
		bed *testbed.Testbed
		see witness
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		bed = startTestbed(ctx, unpinned(machines(story.Small, story.Shared)))
		see = witness{bed}
		_, err := runStep(ctx, story.New(bed), story.StepReported)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	})

	ginkgo.It("a malformed VMI is refused with the field, or never becomes a pod", func(ctx context.Context) {
		for name, domain := range map[string]string{
			"cores-text":   `{cpu: {cores: many, dedicatedCpuPlacement: true}, resources: {limits: {memory: 1Gi}}}`,
			"cpu-garbage":  `{cpu: {dedicatedCpuPlacement: true}, resources: {limits: {cpu: "2x", memory: 1Gi}}}`,
			"memory-list":  `{cpu: {cores: 2, dedicatedCpuPlacement: true}, resources: {limits: {memory: [1Gi]}}}`,
			"cpu-is-a-map": `{cpu: [dedicatedCpuPlacement], resources: {}}`,
		} {
			vmi := fmt.Appendf(nil, "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: %s, namespace: vms}\nspec: {schedulerName: corepin, domain: %s}\n", name, domain)
			if err := bed.Apply(ctx, vmi); err != nil {
				gomega.Expect(err.Error()).To(gomega.And(gomega.ContainSubstring(name), gomega.ContainSubstring("domain")), name)
			}
		}
		// A good VMI after the bad ones: nobody has fallen over.
		gomega.Expect(bed.Apply(ctx, good("after-malformed"))).To(gomega.Succeed())
		eventuallyPinned(ctx, see, "after-malformed")
		for _, name := range []string{"cores-text", "cpu-garbage", "memory-list", "cpu-is-a-map"} {
			_, err := bed.PodOf(ctx, name)
			gomega.Expect(err).To(gomega.HaveOccurred(), "a launcher pod for VMI %s", name)
		}
	})

	ginkgo.It("an unreadable cpu_manager_state is told; report, label and VM stay", func(ctx context.Context) {
		path := filepath.Join(bed.Nodes[story.Small].Sim.KubeletRootDir(), "cpu_manager_state")
		state, err := os.ReadFile(path)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		var before *v1alpha1.NodeCPU
		gomega.Eventually(ctx, func(g gomega.Gomega) { // with the pins, which are reported last
			before, err = bed.Report(ctx, story.Small)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(before.Status.Granted).To(gomega.HaveEach(gomega.HaveField("Pins", gomega.Not(gomega.BeEmpty()))))
		}).WithTimeout(deadline).Should(gomega.Succeed())
		for what, garbage := range map[string]string{
			"empty": "", "half": string(state[:len(state)/2]), "garbage": "\x00\xff{]", "wrong": `{"policyName":"static","defaultCpuSet":7}`,
			"newer": strings.Replace(string(state), "{", `{"format":"V9",`, 1),
		} {
			replace(path, []byte(garbage))
			gomega.Eventually(ctx, func(g gomega.Gomega) {
				report, err := bed.Report(ctx, story.Small)
				g.Expect(err).NotTo(gomega.HaveOccurred())
				g.Expect(conditionsText(report)).To(gomega.ContainSubstring("cpu_manager_state"), what)
				g.Expect(report.Status.Granted).To(gomega.Equal(before.Status.Granted))
				g.Expect(report.Status.SharedCPUs).To(gomega.Equal(before.Status.SharedCPUs))
			}).WithTimeout(deadline).Should(gomega.Succeed())
			gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("true/true"), what)
			replace(path, state)
			gomega.Eventually(ctx, func(g gomega.Gomega) {
				report, err := bed.Report(ctx, story.Small)
				g.Expect(err).NotTo(gomega.HaveOccurred())
				g.Expect(conditionsText(report)).NotTo(gomega.ContainSubstring("cpu_manager_state"))
			}).WithTimeout(deadline).Should(gomega.Succeed())
		}
	})

	ginkgo.It("a report of a newer agent is not half understood", func(ctx context.Context) {
		agent := bed.Nodes[story.Small].Agent
		gomega.Expect(agent.Stop()).To(gomega.Succeed())
		patch := fmt.Sprintf(`{"status":{"format":%d}}`, v1alpha1.FormatVersion+1)
		_, err := bed.Dynamic().Resource(v1alpha1.Resource).Patch(ctx, story.Small, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(bed.Apply(ctx, good("during-newer"))).To(gomega.Succeed())
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			output, err := bed.Kubectl(ctx, "get", "events", "--namespace=vms", "--output=jsonpath={.items[?(@.reason==\"CPUsEstimated\")].message}")
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(string(output)).To(gomega.ContainSubstring("newer"))
		}).WithTimeout(deadline).Should(gomega.Succeed())
		gomega.Expect(see.pod(ctx, "during-newer").Spec.NodeName).To(gomega.Equal(story.Small))
		gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("true/true"))
		// The agent knows its node best: it takes its report over, and pins the VM that was bound on an estimate.
		gomega.Expect(agent.Restart()).To(gomega.Succeed())
		eventuallyPinned(ctx, see, "during-newer")
	})

	ginkgo.It("libvirt that is not there is told on the pod, and pinned when it is back", func(ctx context.Context) {
		pod := see.pod(ctx, "after-malformed")
		agent := bed.Nodes[story.Small].Agent
		dir := filepath.Join(bed.Nodes[story.Small].Sim.KubeletRootDir(), "pods", string(pod.UID), "volumes", "kubernetes.io~empty-dir", "libvirt-runtime")
		gomega.Expect(agent.Stop()).To(gomega.Succeed())
		gomega.Expect(os.Rename(filepath.Join(dir, "virtqemud-sock"), filepath.Join(dir, "away"))).To(gomega.Succeed())
		gomega.Expect(agent.Restart()).To(gomega.Succeed())
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			events, err := bed.Client().CoreV1().Events("vms").List(ctx, metav1.ListOptions{FieldSelector: "type=Warning,involvedObject.name=" + pod.Name})
			g.Expect(err).NotTo(gomega.HaveOccurred())
			var messages []string
			for _, event := range events.Items {
				messages = append(messages, event.Message)
			}
			g.Expect(strings.Join(messages, "\n")).To(gomega.ContainSubstring("libvirt"))
		}).WithTimeout(deadline).Should(gomega.Succeed())
		gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("true/true"))
		gomega.Expect(os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, "virtqemud-sock"))).To(gomega.Succeed())
		eventuallyPinned(ctx, see, "after-malformed")
		see.noCPUTwice()
	})
})

// good is a VMI of two vCPUs that small can hold.
func good(name string) []byte {
	return fmt.Appendf(nil, "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: %s, namespace: vms}\n"+
		"spec: {schedulerName: corepin, domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, resources: {limits: {memory: 1Gi}}}}\n", name)
}

func eventuallyPinned(ctx context.Context, see witness, vm string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		pod, err := see.bed.PodOf(ctx, vm)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(string(pod.Status.Phase)).To(gomega.Equal("Running"), "%v", pod.Status.Conditions)
		granted, err := see.tryGranted(pod)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		pins, err := see.tryAffinity(ctx, pod)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(pinnedWithin(pins, 2, granted)).To(gomega.Succeed())
	}).WithTimeout(deadline).Should(gomega.Succeed())
}

// replace writes a file as the kubelet does, by rename.
func replace(path string, data []byte) {
	ginkgo.GinkgoHelper()
	gomega.Expect(os.WriteFile(path+".test", data, 0o600)).To(gomega.Succeed())
	gomega.Expect(os.Rename(path+".test", path)).To(gomega.Succeed())
}

func conditionsText(report *v1alpha1.NodeCPU) string {
	var parts []string
	for _, condition := range report.Status.Conditions {
		parts = append(parts, fmt.Sprintf("%s=%s %s: %s", condition.Type, condition.Status, condition.Reason, condition.Message))
	}
	return strings.Join(parts, "\n")
}
