// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"corepin.dev/corepin/test/harness/testbed"
	"corepin.dev/corepin/test/harness/virtcontroller"
)

// mover is somebody who may rebalance, and nothing else.
const mover = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: mover, namespace: vms}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: mover}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: corepin-rebalance}
subjects: [{kind: ServiceAccount, name: mover, namespace: vms}]
`

// A VM fits nowhere until another one has moved. What virt-handler does of a migration is done here.
var _ = ginkgo.Describe("rebalance --apply", ginkgo.Ordered, func() {
	var bed *testbed.Testbed
	vm := func(ctx context.Context, name string, cores int, more string) {
		ginkgo.GinkgoHelper()
		object := fmt.Sprintf("{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: %s, namespace: %s}, spec: {schedulerName: corepin, "+
			"terminationGracePeriodSeconds: 0, domain: {cpu: {cores: %d, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}, devices: {}}, %s}}",
			name, testbed.VMNamespace, cores, more)
		gomega.Expect(bed.Apply(ctx, []byte(object))).To(gomega.Succeed())
	}
	ginkgo.BeforeAll(func(ctx context.Context) {
		const machine = "1 sockets x 1 numa x 6 cores x 1 threads" // five CPUs are for VMs
		bed = startTestbed(ctx, []testbed.Machine{alignedMachine("left", machine, "0"), alignedMachine("right", machine, "0")})
		gomega.Expect(bed.Apply(ctx, []byte(viewer+"---"+mover))).To(gomega.Succeed())
		const right = "nodeSelector: {kubernetes.io/hostname: right}"
		vm(ctx, "filler", 4, right)
		eventuallyRunning(ctx, bed, []string{podOf(ctx, bed, "filler")}, "right")
		vm(ctx, "small", 2, "evictionStrategy: LiveMigrate")
		eventuallyRunning(ctx, bed, []string{podOf(ctx, bed, "small")}, "left")
		gomega.Expect(bed.DeleteVMI(ctx, "filler")).To(gomega.Succeed())
		vm(ctx, "stays", 2, right)
		eventuallyRunning(ctx, bed, []string{podOf(ctx, bed, "stays")}, "right")
		vm(ctx, "big", 4, "evictionStrategy: LiveMigrate")
		described(ctx, bed, podOf(ctx, bed, "big"), "FailedScheduling")
	})

	ginkgo.It("needs ClusterRole corepin-rebalance", func(ctx context.Context) {
		gomega.Eventually(ctx, func(g gomega.Gomega) { // the VM runs, and its node has reported it
			out, code := corepin(ctx, bed, "corepin-explainer", "", "rebalance", "vm", "big", "-n", testbed.VMNamespace)
			g.Expect(out).To(gomega.ContainSubstring("VM vms/small  left -> right"))
			g.Expect(code).To(gomega.Equal(0))
		}).WithTimeout(deadline).Should(gomega.Succeed())
		out, code := corepin(ctx, bed, "corepin-explainer", "", "rebalance", "vm", "big", "-n", testbed.VMNamespace, "--apply")
		gomega.Expect(out).To(gomega.ContainSubstring("--clusterrole=corepin-rebalance"))
		gomega.Expect(code).To(gomega.Equal(1))
	})

	ginkgo.It("moves a VM, and the one that waited gets its CPUs", func(ctx context.Context) {
		moved := make(chan struct{})
		go func() {
			defer ginkgo.GinkgoRecover()
			defer close(moved)
			finishMigration(ctx, bed, "small")
		}()
		out, code := corepin(ctx, bed, "mover", "", "rebalance", "vm", "big", "-n", testbed.VMNamespace, "--apply")
		ginkgo.AddReportEntry("rebalance --apply", out)
		gomega.Expect(code).To(gomega.Equal(0), out)
		<-moved
		gomega.Expect(out).To(gomega.And(gomega.ContainSubstring("1/1 VM vms/small left -> right: it is on right now, CPUs "), gomega.ContainSubstring("done: VM vms/big ")))
		list, err := bed.Dynamic().Resource(virtcontroller.Migrations).List(ctx, metav1.ListOptions{LabelSelector: "corepin.dev/made-by=rebalance"})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(list.Items).To(gomega.HaveLen(1))
		_, target := movingPods(ctx, bed, "small")
		gomega.Expect(target.Spec.NodeName).To(gomega.Equal("right"))
		name := podOf(ctx, bed, "big")
		eventuallyRunning(ctx, bed, []string{name}, "left")
		pod, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).Get(ctx, name, metav1.GetOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(witness{bed}.granted(pod).Size()).To(gomega.Equal(4))
		gomega.Expect(witness{bed}.granted(target).Size()).To(gomega.Equal(2))
		witness{bed}.noCPUTwice()
	})
})

// movingPods are the pod that a VM leaves by a migration, and the one to which it moves.
func movingPods(ctx context.Context, bed *testbed.Testbed, vm string) (source, target *corev1.Pod) {
	ginkgo.GinkgoHelper()
	pods, err := podsOf(ctx, bed)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	for i := range pods {
		switch {
		case pods[i].Annotations["kubevirt.io/domain"] != vm:
		case pods[i].Annotations["kubevirt.io/migrationJobName"] != "":
			target = &pods[i]
		default:
			source = &pods[i]
		}
	}
	gomega.Expect(source).NotTo(gomega.BeNil())
	gomega.Expect(target).NotTo(gomega.BeNil())
	return source, target
}

// finishMigration does what is left of a VM's migration when its target pod is ready, in KubeVirt's order. virt-handler says that the VM
// is on the other node, and virt-controller that the migration has succeeded. The pod that the guest has left ends.
func finishMigration(ctx context.Context, bed *testbed.Testbed, vm string) {
	ginkgo.GinkgoHelper()
	migrations := bed.Dynamic().Resource(virtcontroller.Migrations).Namespace(testbed.VMNamespace)
	vmis := bed.Dynamic().Resource(testbed.VMIs).Namespace(testbed.VMNamespace)
	pods := bed.Client().CoreV1().Pods(testbed.VMNamespace)
	path, err := bed.ServiceAccountKubeconfig(ctx, virtcontroller.Namespace, virtcontroller.HandlerAccount)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	_, handler := clientsOf(path) // what others write into the status of a VMI is put back
	name := ""
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		list, err := migrations.List(ctx, metav1.ListOptions{})
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(list.Items).To(gomega.HaveLen(1))
		name = list.Items[0].GetName()
		g.Expect(list.Items[0].Object["status"]).To(gomega.HaveKeyWithValue("phase", "PreparingTarget"))
	}).WithTimeout(deadline).Should(gomega.Succeed())
	source, target := movingPods(ctx, bed, vm)
	gomega.Expect(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		object, err := vmis.Get(ctx, vm, metav1.GetOptions{})
		if err != nil {
			return err
		}
		status, _ := object.Object["status"].(map[string]any)
		status["nodeName"] = target.Spec.NodeName
		status["migrationState"] = map[string]any{"sourceNode": source.Spec.NodeName, "targetNode": target.Spec.NodeName, "targetPod": target.Name, "completed": true}
		_, err = handler.Resource(testbed.VMIs).Namespace(testbed.VMNamespace).Update(ctx, object, metav1.UpdateOptions{})
		return err
	})).To(gomega.Succeed())
	gomega.Expect(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		object, err := migrations.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		object.Object["status"] = map[string]any{"phase": "Succeeded"}
		_, err = migrations.UpdateStatus(ctx, object, metav1.UpdateOptions{})
		return err
	})).To(gomega.Succeed())
	gomega.Expect(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		pod, err := pods.Get(ctx, source.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		pod.Status.Phase = corev1.PodSucceeded
		_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		return err
	})).To(gomega.Succeed())
}
