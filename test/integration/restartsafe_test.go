// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/story"
)

// A kubelet that starts reads the Node's labels again for the pods that run. The agent itself may have taken one away.
var _ = ginkgo.Describe("a running VM whose node has lost the label", ginkgo.Ordered, func() {
	ginkgo.It("is named by RestartSafe, and is lost at the kubelet's restart", func(ctx context.Context) {
		bed := startTestbed(ctx, machines(story.Small))
		see := agentWitness{witness{bed}, story.Small}
		gomega.Expect(bed.Apply(ctx, good("held"))).To(gomega.Succeed())
		eventuallyPinned(ctx, see.witness, "held")
		see.eventually(ctx, v1alpha1.ConditionRestartSafe, "True", "KeepsEverything", "")

		gomega.Expect(bed.SetGates(ctx, "DataVolumes")).To(gomega.Succeed())
		gomega.Eventually(ctx, func() string { return see.label(ctx, story.Small) }).WithTimeout(deadline).Should(gomega.Equal("/"))
		pod := see.pod(ctx, "held")
		see.eventually(ctx, v1alpha1.ConditionRestartSafe, "False", "WouldRefusePods",
			`will fail 1 pods that run: vms/`+pod.Name+` \(NodeAffinity: it selects (kubevirt\.io/)?cpumanager=true, and the node has no such label\)`)

		gomega.Expect(bed.Nodes[story.Small].Sim.Restart()).To(gomega.Succeed())
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			lost := see.pod(ctx, "held")
			g.Expect(string(lost.Status.Phase)).To(gomega.Equal("Failed"))
			g.Expect(lost.Status.Reason).To(gomega.Equal("NodeAffinity"), lost.Status.Message)
		}).WithTimeout(deadline).Should(gomega.Succeed())
		see.eventually(ctx, v1alpha1.ConditionRestartSafe, "True", "KeepsEverything", "")
	})
})
