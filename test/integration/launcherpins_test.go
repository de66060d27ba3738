// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

// launcherNode is a node whose guests come as the hook describes them; nil leaves the pins of KubeVirt's launcher.
func launcherNode(name string, hook func(*guest.Spec)) testbed.Machine {
	return testbed.Machine{
		Name: name, Topology: cputopology.MustParse("1 sockets x 1 numa x 4 cores x 2 threads"), Hook: hook,
		Kubelet: simnode.KubeletSettings{CPUManagerPolicy: "static", ReservedSystemCPUs: "0,4"},
		Guests:  guest.TestDriver{}, GuestURI: "test:///default",
	}
}

// KubeVirt's launcher pins a dedicated guest before it starts. What a hook sidecar writes instead is played by its domain's name.
var _ = ginkgo.Describe("a guest that comes pinned", ginkgo.Ordered, func() {
	var (
		bed *testbed.Testbed
		see pinWitness
	)
	hook := func(spec *guest.Spec) {
		switch spec.Name {
		case "vms_swapped":
			spec.Pins.VCPUs = []cpuset.Set{spec.Pins.VCPUs[1], spec.Pins.VCPUs[0]}
		case "vms_wrong":
			spec.Pins.VCPUs = []cpuset.Set{cpuset.Of(0), cpuset.Of(4)}
		}
	}
	ginkgo.BeforeAll(func(ctx context.Context) {
		bed = startTestbed(ctx, []testbed.Machine{launcherNode("launched", hook)})
		see = pinWitness{witness{bed}}
	})
	// A pod that the agent has pinned anything of has an event that says so.
	untouched := func(ctx context.Context, vm string) {
		ginkgo.GinkgoHelper()
		pod := see.pod(ctx, vm).Name
		gomega.Consistently(ctx, func(g gomega.Gomega) {
			events, err := bed.Client().CoreV1().Events("vms").List(ctx, metav1.ListOptions{FieldSelector: "source=corepin-agent,involvedObject.name=" + pod})
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(events.Items).To(gomega.BeEmpty())
		}).WithTimeout(5 * time.Second).Should(gomega.Succeed())
	}

	ginkgo.It("is left as KubeVirt's launcher has pinned it", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, pinnedVM("db", true))).To(gomega.Succeed())
		see.eventuallyReport(ctx, "db", "0=1 1=5 emulator=2 io1=2", "False", "InPlace", "")
		see.eventuallyPins(ctx, "db", "vcpu 0=1 vcpu 1=5 emulator=2 io 1=2")
		untouched(ctx, "db")
		see.virsh(ctx, "db", "vcpupin", "vms_db", "1", "7")
		see.eventuallyEvent(ctx, see.pod(ctx, "db").Name, "DriftRepaired", "moved vCPU 1: 7 → 5; now vCPU 0→1 1→5")
		gomega.Expect(bed.DeleteVMI(ctx, "db")).To(gomega.Succeed())
	})

	ginkgo.It("is left as a hook sidecar has pinned it where that is valid, and put right where it is not", func(ctx context.Context) {
		gomega.Eventually(ctx, func() error { _, err := bed.PodOf(ctx, "db"); return err }).WithTimeout(deadline).ShouldNot(gomega.Succeed())
		gomega.Expect(bed.Apply(ctx, pinnedVM("swapped", false))).To(gomega.Succeed())
		see.eventuallyReport(ctx, "swapped", "0=5 1=1 io1=1,5", "False", "", "")
		untouched(ctx, "swapped")
		gomega.Expect(bed.Apply(ctx, pinnedVM("wrong", false))).To(gomega.Succeed())
		see.eventuallyPins(ctx, "wrong", "vcpu 0=2 vcpu 1=6 io 1=2,6")
		see.eventuallyReport(ctx, "wrong", "0=2 1=6 io1=2,6", "False", "", "")
		see.eventuallyPins(ctx, "swapped", "vcpu 0=5 vcpu 1=1 io 1=1,5")
	})
})
