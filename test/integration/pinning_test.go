// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/test/harness/testbed"
)

const pinNode = "pins"

// Pins that are made, that somebody moves, and that a kubelet makes wrong, with the shipped agent and its rights. The guests come
// unpinned, so that nobody but the agent can have pinned them.
var _ = ginkgo.Describe("pinning", ginkgo.Ordered, func() {
	var (
		bed *testbed.Testbed
		see pinWitness
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		bed = startTestbed(ctx, []testbed.Machine{launcherNode(pinNode, testbed.NobodyPins)})
		see = pinWitness{witness{bed}}
		gomega.Expect(bed.AwaitReported(ctx, pinNode)).To(gomega.Succeed())
	})

	ginkgo.It("two vCPUs, an IO thread and an isolated emulator go where the VMI asks", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, pinnedVM("db", true))).To(gomega.Succeed())
		see.eventuallyPins(ctx, "db", "vcpu 0=1 vcpu 1=5 emulator=2 io 1=2")
		gomega.Expect(see.granted(see.pod(ctx, "db")).String()).To(gomega.Equal("1-2,5"))
		see.eventuallyEvent(ctx, see.pod(ctx, "db").Name, "Pinned", "vCPU 0→1 1→5, emulator→2, IO thread 1→2; granted 1-2,5")
		see.eventuallyReport(ctx, "db", "0=1 1=5 emulator=2 io1=2", "False", "InPlace", "")
	})

	ginkgo.It("a virsh vcpupin to a wrong CPU is told on the pod, the VMI and the node's report, and put right", func(ctx context.Context) {
		pod := see.pod(ctx, "db")
		start := time.Now()
		see.virsh(ctx, "db", "vcpupin", "vms_db", "0", "7")
		see.eventuallyEvent(ctx, pod.Name, "DriftRepaired", "moved vCPU 0: 7 → 1; now vCPU 0→1 1→5")
		told := time.Since(start)
		see.eventuallyEvent(ctx, "db", "DriftRepaired", "moved vCPU 0: 7 → 1")
		see.eventuallyPins(ctx, "db", "vcpu 0=1 vcpu 1=5 emulator=2 io 1=2")
		see.eventuallyReport(ctx, "db", "0=1 1=5 emulator=2 io1=2", "False", "Repaired", "VM vms/db: vCPU 0: 7 → 1")
		ginkgo.GinkgoWriter.Printf("virsh vcpupin to a wrong CPU: repaired, and the event at the API server, after %s\n", told)
	})

	ginkgo.It("a kubelet that lost its state and gives a running VM other CPUs is followed", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, pinnedVM("web", false))).To(gomega.Succeed())
		see.eventuallyPins(ctx, "web", "vcpu 0=3 vcpu 1=7 io 1=3,7")
		// With db gone and its state lost, the kubelet hands out from the start again.
		gomega.Expect(bed.DeleteVMI(ctx, "db")).To(gomega.Succeed())
		node := bed.Nodes[pinNode].Sim
		gomega.Expect(node.Kill()).To(gomega.Succeed())
		gomega.Expect(os.Remove(filepath.Join(node.KubeletRootDir(), "cpu_manager_state"))).To(gomega.Succeed())
		gomega.Expect(node.Restart()).To(gomega.Succeed())
		see.eventuallyPins(ctx, "web", "vcpu 0=1 vcpu 1=5 io 1=1,5")
		const moved = "the kubelet granted CPUs 1,5 in place of 3,7: moved"
		see.eventuallyEvent(ctx, see.pod(ctx, "web").Name, "Moved", moved)
		see.eventuallyEvent(ctx, "web", "Moved", moved)
		see.eventuallyReport(ctx, "web", "0=1 1=5 io1=1,5", "False", "", "")
	})

	ginkgo.It("kubectl corepin pins shows what libvirt says", func(ctx context.Context) {
		kubeconfig := adminKubeconfig(ctx, bed)
		output, err := exec.CommandContext(ctx, filepath.Join(os.Getenv("COREPIN_BIN"), "kubectl-corepin"), "pins", "--kubeconfig="+kubeconfig, "-o", "json").CombinedOutput()
		gomega.Expect(err).NotTo(gomega.HaveOccurred(), "%s", output)
		// Who else may run on the CPUs comes after that, and depends on the machine.
		gomega.Expect(string(output)).To(gomega.HavePrefix(
			`{"vmi":"vms/web","vcpus":[{"vcpu":0,"cpus":"1"},{"vcpu":1,"cpus":"5"}],"emulator":"","ioThreads":[{"id":1,"cpus":"1,5"}],"error":""`))
	})
})

// pinnedVM is a VMI of two vCPUs with an IO thread.
func pinnedVM(name string, isolateEmulator bool) []byte {
	return pinnedVMOf("corepin", name, isolateEmulator)
}

func pinnedVMOf(scheduler, name string, isolateEmulator bool) []byte {
	return fmt.Appendf(nil, `{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: %s, namespace: vms}, spec: {schedulerName: %s, domain: {
		cpu: {cores: 1, threads: 2, dedicatedCpuPlacement: true, isolateEmulatorThread: %t}, ioThreadsPolicy: shared,
		devices: {disks: [{name: root, disk: {bus: virtio}}]}, resources: {limits: {memory: 1Gi}}}}}`, name, scheduler, isolateEmulator)
}

// pinWitness asks libvirt and the API server about pins.
type pinWitness struct{ witness }

// virsh runs a command of virsh's in the libvirt of a VM.
func (w pinWitness) virsh(ctx context.Context, vm string, args ...string) string {
	ginkgo.GinkgoHelper()
	output, err := w.tryVirsh(ctx, vm, args...)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return output
}

func (w pinWitness) tryVirsh(ctx context.Context, vm string, args ...string) (string, error) {
	pod, err := w.bed.PodOf(ctx, vm)
	if err != nil {
		return "", err
	}
	node := w.bed.Nodes[pod.Spec.NodeName]
	if node == nil {
		return "", fmt.Errorf("pod %s is on no node yet", pod.Name)
	}
	link := filepath.Join(ginkgo.GinkgoT().TempDir(), "r")
	dir := filepath.Join(node.Sim.KubeletRootDir(), "pods", string(pod.UID), "volumes", "kubernetes.io~empty-dir", "libvirt-runtime")
	if err := os.Symlink(dir, link); err != nil {
		return "", err
	}
	output, err := exec.CommandContext(ctx, "virsh", append([]string{"--connect", "test+unix:///default?socket=" + link + "/virtqemud-sock"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("virsh %s: %w: %s", strings.Join(args, " "), err, output)
	}
	return string(output), nil
}

var pinElement = regexp.MustCompile(`<(vcpu|emulator|iothread)pin (?:(?:vcpu|iothread)='(\d+)' )?cpuset='([^']+)'/>`)

// eventuallyPins waits until the XML of the live domain has these pins, in its order.
func (w pinWitness) eventuallyPins(ctx context.Context, vm, want string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		xml, err := w.tryVirsh(ctx, vm, "dumpxml", "vms_"+vm)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		var pins []string
		for _, match := range pinElement.FindAllStringSubmatch(xml, -1) {
			name := strings.TrimSpace(strings.Replace(match[1], "iothread", "io", 1) + " " + match[2])
			pins = append(pins, name+"="+match[3])
		}
		g.Expect(strings.Join(pins, " ")).To(gomega.Equal(want))
	}).WithTimeout(deadline).Should(gomega.Succeed())
}

// eventuallyEvent waits for an event on the object of that name in the VMs' namespace.
func (w pinWitness) eventuallyEvent(ctx context.Context, object, reason, text string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		events, err := w.bed.Client().CoreV1().Events("vms").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + object + ",reason=" + reason})
		g.Expect(err).NotTo(gomega.HaveOccurred())
		var messages []string
		for _, event := range events.Items {
			messages = append(messages, event.Message)
		}
		g.Expect(strings.Join(messages, "\n")).To(gomega.ContainSubstring(text))
	}).WithTimeout(deadline).WithPolling(50 * time.Millisecond).Should(gomega.Succeed())
}

// eventuallyReport waits until the node's report has these pins of a VM, and this condition Drifted.
func (w pinWitness) eventuallyReport(ctx context.Context, vm, pins, status, reason, message string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		pod, err := w.bed.PodOf(ctx, vm)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		report, err := w.bed.Report(ctx, pod.Spec.NodeName)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		reported := ""
		for _, grant := range report.Status.Granted {
			if grant.PodUID == pod.UID {
				reported = grant.Pins
			}
		}
		g.Expect(reported).To(gomega.Equal(pins))
		for _, condition := range report.Status.Conditions {
			if condition.Type == "Drifted" {
				g.Expect(string(condition.Status)).To(gomega.Equal(status), condition.Message)
				g.Expect(condition.Reason).To(gomega.ContainSubstring(reason))
				g.Expect(condition.Message).To(gomega.ContainSubstring(message))
				return
			}
		}
		g.Expect(report.Status.Conditions).To(gomega.ContainElement("condition Drifted"))
	}).WithTimeout(deadline).Should(gomega.Succeed())
}
