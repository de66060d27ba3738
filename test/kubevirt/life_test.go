// SPDX-License-Identifier: Apache-2.0

//go:build system

package kubevirt

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/test/harness/await"
)

// dedicated is the spec of a VMI with two CPUs of its own.
const dedicated = `{schedulerName: corepin, terminationGracePeriodSeconds: 0, domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, resources: {limits: {memory: 128Mi}}, devices: {}}}`

var _ = ginkgo.Describe("a VirtualMachine", ginkgo.Ordered, func() {
	const life = "life"
	var first types.UID
	var table string
	took := func(what string, began time.Time, note string) {
		table += fmt.Sprintf("%-44s %8s  %s\n", what, seconds(began), note)
	}
	ginkgo.BeforeAll(func(ctx context.Context) { namespace(ctx, life) })
	ginkgo.It("is started with virtctl, and gets CPUs of its own", func(ctx context.Context) {
		apply(ctx, "{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: vm, namespace: life}, spec: {runStrategy: Halted, template: {spec: "+dedicated+"}}}")
		began := time.Now()
		virtctl(ctx, "start", "vm", "--namespace="+life)
		vmi := awaitPhase(ctx, life, "vm", "Running", "")
		first = vmi.GetUID()
		_, pod := awaitPod(ctx, life, "vm", "")
		gomega.Expect(pod.Spec.SchedulerName).To(gomega.Equal("corepin"))
		took("virtctl start until Running", began, pod.Spec.NodeName+" CPUs "+expectGranted(ctx, pod, 2))
	})
	ginkgo.It("is restarted with virtctl", func(ctx context.Context) {
		began := time.Now()
		virtctl(ctx, "restart", "vm", "--namespace="+life)
		awaitPhase(ctx, life, "vm", "Running", first)
		_, pod := awaitPod(ctx, life, "vm", first)
		took("virtctl restart until Running", began, pod.Spec.NodeName+" CPUs "+expectGranted(ctx, pod, 2))
	})
	ginkgo.It("is stopped with virtctl, and its CPUs are free", func(ctx context.Context) {
		vmi, err := vmiOf(ctx, life, "vm")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		began := time.Now()
		virtctl(ctx, "stop", "vm", "--namespace="+life)
		awaitGone(ctx, vmi)
		took("virtctl stop until VMI and pod are gone", began, "")
	})
	ginkgo.It("has instancetype and preference", func(ctx context.Context) {
		began := time.Now()
		apply(ctx, `{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: sized, namespace: life}, spec: {runStrategy: Always,
 instancetype: {name: u1.2xmedium}, preference: {name: fedora},
 template: {spec: {schedulerName: corepin, terminationGracePeriodSeconds: 0, domain: {cpu: {dedicatedCpuPlacement: true}, devices: {}}}}}}`)
		awaitPhase(ctx, life, "sized", "Running", "")
		_, pod := awaitPod(ctx, life, "sized", "")
		took("instancetype u1.2xmedium until Running", began, "CPUs "+expectGranted(ctx, pod, 2))
	})
	ginkgo.It("comes in sets and pools", func(ctx context.Context) {
		began := time.Now()
		apply(ctx, "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstanceReplicaSet, metadata: {name: rs, namespace: life}, spec: {replicas: 2, "+
			"selector: {matchLabels: {set: rs}}, template: {metadata: {labels: {set: rs}}, spec: "+dedicated+"}}}")
		apply(ctx, "{apiVersion: pool.kubevirt.io/v1beta1, kind: VirtualMachinePool, metadata: {name: pool, namespace: life}, spec: {replicas: 2, "+
			"selector: {matchLabels: {set: pool}}, virtualMachineTemplate: {metadata: {labels: {set: pool}}, spec: {runStrategy: Always, "+
			"template: {metadata: {labels: {set: pool}}, spec: "+dedicated+"}}}}}")
		for _, set := range []string{"rs", "pool"} {
			pods := awaitPods(ctx, life, "set="+set, 2)
			for i := range pods {
				expectGranted(ctx, &pods[i], 2)
			}
		}
		took("replica set and pool of two until granted", began, "")
	})
	ginkgo.It("leaves the labels of its node to virt-handler while that lives", func(ctx context.Context) {
		err := await.For(ctx, "the agent to leave the labels to KubeVirt", deadline, func(ctx context.Context) error {
			report, err := bed.Report(ctx, "strict")
			if err != nil {
				return err
			}
			text := fmt.Sprint(report.Status.Conditions)
			if !strings.Contains(text, "LeftToKubeVirt") {
				return fmt.Errorf("%s", text)
			}
			return nil
		})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	})
	ginkgo.AfterAll(func() { report("the life of a VirtualMachine", table) })
})

// awaitPods waits for so many launcher pods with a label.
func awaitPods(ctx context.Context, namespace, selector string, count int) []corev1.Pod {
	ginkgo.GinkgoHelper()
	var pods []corev1.Pod
	err := await.For(ctx, fmt.Sprintf("%d pods with %s", count, selector), deadline, func(ctx context.Context) error {
		list, err := bed.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "kubevirt.io=virt-launcher," + selector})
		if err != nil {
			return err
		}
		if len(list.Items) != count {
			return fmt.Errorf("there are %d", len(list.Items))
		}
		pods = list.Items
		return nil
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return pods
}
