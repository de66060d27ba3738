// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"os/exec"
	"path/filepath"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"corepin.dev/corepin/test/harness/story"
)

// Every agent of this suite runs with the capabilities of the shipped container and no others: that they are
// enough is shown by whatever is pinned. Here: that the one capability is needed.
var _ = ginkgo.Describe("the agent's capability", ginkgo.Ordered, func() {
	ginkgo.It("is what it takes to connect to a guest's libvirt, and is all that the agent has", func(ctx context.Context) {
		bed := startTestbed(ctx, unpinned(machines(story.Small)))
		see := witness{bed}
		gomega.Expect(bed.Apply(ctx, good("capable"))).To(gomega.Succeed())
		eventuallyPinned(ctx, see, "capable")

		status, err := exec.CommandContext(ctx, "grep", "-h", "^Cap", "/proc/"+itoa(bed.Nodes[story.Small].Agent.PID())+"/status").Output()
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(string(status)).To(gomega.And( // CAP_DAC_OVERRIDE is bit 1
			gomega.ContainSubstring("CapEff:\t0000000000000002\n"), gomega.ContainSubstring("CapBnd:\t0000000000000002\n")))

		pod := see.pod(ctx, "capable")
		socket := filepath.Join(bed.Nodes[story.Small].Sim.KubeletRootDir(), "pods", string(pod.UID), "volumes", "kubernetes.io~empty-dir", "libvirt-runtime", "virtqemud-sock")
		connect := func(capabilities string) error {
			return exec.CommandContext(ctx, "setpriv", "--bounding-set="+capabilities, "--no-new-privs", "--",
				"bash", "-c", `test -w "$1"`, "bash", socket).Run()
		}
		gomega.Expect(connect("-all,+dac_override")).To(gomega.Succeed())
		gomega.Expect(connect("-all")).NotTo(gomega.Succeed())
		gomega.Expect(connect("-all,+dac_read_search")).NotTo(gomega.Succeed(), "reading would not do")
	})
})
