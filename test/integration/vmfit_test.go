// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
	"corepin.dev/corepin/test/harness/virtcontroller"
)

var _ = ginkgo.Describe("The VM behind a launcher pod", ginkgo.Ordered, func() {
	var bed *testbed.Testbed
	ginkgo.BeforeAll(func(ctx context.Context) {
		// Both nodes give CPUs one by one; only on smt do two of them make a core. CPUs 0 and 4 of smt are reserved.
		machine := func(name, topology, reserved string) testbed.Machine {
			return testbed.Machine{Name: name, Topology: cputopology.MustParse(topology),
				Kubelet: simnode.KubeletSettings{CPUManagerPolicy: "static", ReservedSystemCPUs: reserved}}
		}
		bed = startTestbed(ctx, []testbed.Machine{
			machine("flat", "1 sockets x 1 numa x 8 cores x 1 threads", "0"), machine("smt", "1 sockets x 1 numa x 4 cores x 2 threads", "0,4"),
		})
	})

	ginkgo.It("is not put where the threads of its cores would be no hardware threads", func(ctx context.Context) {
		applyVMI(ctx, bed, "never", "flat", "{cores: 1, threads: 2, dedicatedCpuPlacement: true}", "{}")
		said := described(ctx, bed, podOf(ctx, bed, "never"), "node(s) would split the guest's hardware threads")
		ginkgo.AddReportEntry("on a node without hardware threads", said)
		gomega.Expect(bed.DeleteVMI(ctx, "never")).To(gomega.Succeed())
	})

	ginkgo.It("is not put where its cores would be split, and is once they would not", func(ctx context.Context) {
		on := func(pod *corev1.Pod) { alone(pod); pod.Spec.NodeSelector["kubernetes.io/hostname"] = "smt" }
		for _, cpu := range []string{"1", "5", "2", "6", "3", "7"} { // the order in which the kubelet hands them out
			create(ctx, bed, launcherPod("on-"+cpu, 1, on))
			eventuallyRunning(ctx, bed, []string{"on-" + cpu}, "smt")
		}
		remove(ctx, bed, "on-1", "on-2", "on-3") // three CPUs are free, of three cores
		applyVMI(ctx, bed, "pair", "smt", "{cores: 1, threads: 2, dedicatedCpuPlacement: true}", "{}")
		pod := podOf(ctx, bed, "pair")
		ginkgo.AddReportEntry("while three CPUs of three cores are free", described(ctx, bed, pod, "node(s) would split the guest's hardware threads"))
		remove(ctx, bed, "on-5") // now a core is free
		eventuallyRunning(ctx, bed, []string{pod}, "smt")
		witness{bed}.noCPUTwice()
		remove(ctx, bed, "on-6", "on-7")
		gomega.Expect(bed.DeleteVMI(ctx, "pair")).To(gomega.Succeed())
	})

	ginkgo.It("is refused with all that is wrong, and tried again when that is mended", func(ctx context.Context) {
		binding, err := manifests.FS.ReadFile("admission/refuse/binding.yaml")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, err = bed.Kubectl(ctx, "delete", "validatingadmissionpolicybinding", "dedicated-cpu.corepin.dev")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		applyVMI(ctx, bed, "twice", "flat", "{cores: 2, dedicatedCpuPlacement: true}", "{limits: {cpu: 4}}")
		gomega.Expect(bed.Apply(ctx, binding)).To(gomega.Succeed())

		name := podOf(ctx, bed, "twice")
		const told = "the VM is inconsistent, and no node is looked at: spec.domain.resources: cpu.sockets x cores x threads = 2 and " +
			"limits.cpu = 4 both give the number of CPUs; remove one of the two"
		ginkgo.AddReportEntry("events of the pod", described(ctx, bed, name, told))
		pod, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).Get(ctx, name, metav1.GetOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(fmt.Sprint(pod.Status.Conditions)).To(gomega.ContainSubstring(told))

		// Only KubeVirt's own accounts change the spec of a VMI that exists.
		_, err = bed.Kubectl(ctx, "patch", "virtualmachineinstance", "--namespace="+testbed.VMNamespace, "twice", "--type=json",
			"--as=system:serviceaccount:"+virtcontroller.Namespace+":"+virtcontroller.ServiceAccount,
			// virt-api has made a request of the limit.
			`--patch=[{"op": "remove", "path": "/spec/domain/resources/limits/cpu"}, {"op": "remove", "path": "/spec/domain/resources/requests/cpu"}]`)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		eventuallyRunning(ctx, bed, []string{name}, "flat")
		gomega.Expect(bed.DeleteVMI(ctx, "twice")).To(gomega.Succeed())
	})
})

// applyVMI creates a VMI for one node with that CPU section and those resources; while the policy refuses it, which
// it goes on doing for a while after its binding is gone, again and again.
func applyVMI(ctx context.Context, bed *testbed.Testbed, name, node, cpu, resources string) {
	ginkgo.GinkgoHelper()
	object := fmt.Sprintf("{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: %s, namespace: %s}, spec: {schedulerName: corepin, "+
		"nodeSelector: {kubernetes.io/hostname: %s}, domain: {cpu: %s, memory: {guest: 64Mi}, resources: %s, devices: {}}}}", name, testbed.VMNamespace, node, cpu, resources)
	gomega.Eventually(ctx, func() error { return bed.Apply(ctx, []byte(object)) }).WithTimeout(deadline).Should(gomega.Succeed())
}

// podOf is the name of a VMI's pod, once there is one.
func podOf(ctx context.Context, bed *testbed.Testbed, vmi string) (name string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func() error {
		pod, err := bed.PodOf(ctx, vmi)
		if err == nil {
			name = pod.Name
		}
		return err
	}).WithTimeout(deadline).Should(gomega.Succeed())
	return name
}
