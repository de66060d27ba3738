// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

// What agents do that are not to pin by themselves, and what is said of a VM that has nothing to be pinned to.
var _ = ginkgo.Describe("pinning, where it is not simply done", ginkgo.Ordered, func() {
	const (
		observed  = "observed"
		repaired  = "repaired"
		unmanaged = "unmanaged"
	)
	static := simnode.KubeletSettings{CPUManagerPolicy: "static", ReservedSystemCPUs: "0,4"}
	var (
		bed *testbed.Testbed
		see pinWitness
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		machine := func(name, mode string, hook func(*guest.Spec)) testbed.Machine {
			m := launcherNode(name, hook)
			m.PinningMode = mode
			return m
		}
		shared := machine(unmanaged, "", nil)
		shared.Kubelet = simnode.KubeletSettings{CPUManagerPolicy: "none"}
		bed = startTestbed(ctx, []testbed.Machine{machine(observed, "observe", testbed.NobodyPins), machine(repaired, "repair", testbed.NobodyPins), shared})
		see = pinWitness{witness{bed}}
	})

	// The agent must not come between the two.
	pinByHand := func(ctx context.Context, node, vm string) {
		ginkgo.GinkgoHelper()
		agent := bed.Nodes[node].Agent
		gomega.Expect(agent.Kill()).To(gomega.Succeed())
		see.virsh(ctx, vm, "vcpupin", "vms_"+vm, "0", "5")
		see.virsh(ctx, vm, "vcpupin", "vms_"+vm, "1", "1")
		gomega.Expect(agent.Restart()).To(gomega.Succeed())
	}

	ginkgo.It("observe tells what it would pin, and pins nothing", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, onNode(observed, pinnedVM("seen", false)))).To(gomega.Succeed())
		see.eventuallyEvent(ctx, "seen", "Misplaced", "→ 5; granted 1,5; nothing is changed")
		see.eventuallyReport(ctx, "seen", "", "True", "Misplaced", "VM vms/seen")
		see.eventuallyPins(ctx, "seen", "")
		pinByHand(ctx, observed, "seen")
		see.eventuallyReport(ctx, "seen", "0=5 1=1", "False", "InPlace", "")
		see.virsh(ctx, "seen", "vcpupin", "vms_seen", "0", "7")
		see.eventuallyEvent(ctx, "seen", "Misplaced", "vCPU 0: 7 → 5")
		see.eventuallyReport(ctx, "seen", "0=7 1=1", "True", "Misplaced", "VM vms/seen: vCPU 0: 7 → 5")
		see.eventuallyPins(ctx, "seen", "vcpu 0=7 vcpu 1=1")
	})

	ginkgo.It("repair leaves the first pins to others, and mends them", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, onNode(repaired, pinnedVM("left", false)))).To(gomega.Succeed())
		see.eventuallyEvent(ctx, "left", "CannotPin", "nobody has pinned the guest on the granted CPUs 1,5")
		see.eventuallyPins(ctx, "left", "")
		pinByHand(ctx, repaired, "left")
		see.eventuallyReport(ctx, "left", "0=5 1=1", "False", "InPlace", "")
		see.virsh(ctx, "left", "vcpupin", "vms_left", "0", "7")
		see.eventuallyEvent(ctx, "left", "DriftRepaired", "moved vCPU 0: 7 → 5")
		see.eventuallyPins(ctx, "left", "vcpu 0=5 vcpu 1=1")
	})

	ginkgo.It("a VM on a node without a CPU manager is told why it has no CPUs of its own, until it has some", func(ctx context.Context) {
		label := []byte(`{"metadata":{"labels":{"cpumanager":"true","kubevirt.io/cpumanager":"true"}}}`) // a person's word stays
		_, err := bed.Client().CoreV1().Nodes().Patch(ctx, unmanaged, types.MergePatchType, label, metav1.PatchOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(bed.Apply(ctx, pinnedVMOf("by-hand", "alone", false))).To(gomega.Succeed())
		gomega.Eventually(ctx, func() error { _, err := bed.PodOf(ctx, "alone"); return err }).WithTimeout(deadline).Should(gomega.Succeed())
		pod := see.pod(ctx, "alone")
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: unmanaged}}
		gomega.Expect(bed.Client().CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{})).To(gomega.Succeed())
		gomega.Eventually(ctx, func() error {
			pod, err := bed.PodOf(ctx, "alone")
			if err == nil && pod.Status.Phase != corev1.PodRunning {
				err = fmt.Errorf("the pod is %s: %s: %s", pod.Status.Phase, pod.Status.Reason, pod.Status.Message)
			}
			return err
		}).WithTimeout(deadline).Should(gomega.Succeed())
		const none = "VM vms/alone asked dedicated CPUs, but container compute has no exclusive ones: the kubelet granted none"
		see.eventuallyEvent(ctx, pod.Name, "NotExclusive", none)
		see.eventuallyEvent(ctx, "alone", "NotExclusive", none)
		see.eventuallyPins(ctx, "alone", "vcpu 0=0 vcpu 1=4 io 1=0-1") // KubeVirt's launcher takes shared CPUs for its own

		gomega.Expect(bed.Nodes[unmanaged].Sim.Reconfigure(static)).To(gomega.Succeed())
		see.eventuallyPins(ctx, "alone", "vcpu 0=1 vcpu 1=5 io 1=1,5")
		see.eventuallyEvent(ctx, pod.Name, "DriftRepaired", "vCPU 0: 0 → 1, vCPU 1: 4 → 5; now vCPU 0→1 1→5, IO thread 1→1,5; granted 1,5")
	})
})

// onNode holds a VMI to a node.
func onNode(node string, vmi []byte) []byte {
	return fmt.Appendf(nil, "%s, nodeSelector: {kubernetes.io/hostname: %s}}}", vmi[:len(vmi)-len("}}")], node)
}
