// SPDX-License-Identifier: Apache-2.0

//go:build system

package kubevirt

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/process"
)

// At the shipped verbosity an operator can read what scheduler and agents say of a hundred VMs.
var _ = ginkgo.Describe("a hundred VMs", ginkgo.Ordered, func() {
	const many, count = "many", 100
	sets := schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstancereplicasets"}
	var table string
	var counted map[string]int
	tell := func(what string, began time.Time) {
		now := countLines()
		minutes := time.Since(began).Minutes()
		for _, name := range logged() {
			lines := now[name] - counted[name]
			table += fmt.Sprintf("%-14s %-24s %6d lines, %7.1f a minute\n", what, name, lines, float64(lines)/minutes)
		}
		counted = now
	}
	ginkgo.BeforeAll(func(ctx context.Context) { namespace(ctx, many) })
	ginkgo.It("are started and stopped with few lines in the logs", func(ctx context.Context) {
		counted = countLines()
		began := time.Now()
		select { // nothing happens for a minute
		case <-time.After(time.Minute):
		case <-ctx.Done():
		}
		tell("idle", began)
		began = time.Now()
		apply(ctx, fmt.Sprintf("{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstanceReplicaSet, metadata: {name: many, namespace: many}, spec: {replicas: %d, "+
			"selector: {matchLabels: {set: many}}, template: {metadata: {labels: {set: many}}, spec: {schedulerName: corepin, terminationGracePeriodSeconds: 0, "+
			"domain: {cpu: {cores: 1, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}, devices: {}}}}}}", count))
		gomega.Expect(awaitRunning(ctx, many, count)).To(gomega.Succeed())
		tell("100 starts", began)
		began = time.Now()
		gomega.Expect(bed.Dynamic().Resource(sets).Namespace(many).Delete(ctx, "many", metav1.DeleteOptions{})).To(gomega.Succeed())
		gomega.Expect(awaitRunning(ctx, many, 0)).To(gomega.Succeed())
		tell("100 stops", began)
	}, ginkgo.NodeTimeout(15*time.Minute))
	ginkgo.AfterAll(func() { report("lines in the logs at the shipped verbosity", table) })
})

// awaitRunning waits until so many launcher pods are there, all of them with the CPUs of a node.
func awaitRunning(ctx context.Context, namespace string, count int) error {
	return await.For(ctx, fmt.Sprintf("%d pods to run", count), 5*deadline, func(ctx context.Context) error {
		pods, err := bed.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "kubevirt.io=virt-launcher"})
		if err != nil {
			return err
		}
		running := 0
		for i := range pods.Items {
			if pods.Items[i].Status.Phase == corev1.PodRunning {
				running++
			}
		}
		if running != count || len(pods.Items) != count {
			return fmt.Errorf("%d of %d pods run", running, len(pods.Items))
		}
		return nil
	})
}

func logged() []string {
	names := []string{"corepin-scheduler"}
	for _, machine := range machines() {
		names = append(names, "corepin-agent-"+machine.Name)
	}
	return names
}

// countLines is how long the logs of corepin's processes are.
func countLines() map[string]int {
	ginkgo.GinkgoHelper()
	lines := map[string]int{}
	for _, name := range logged() {
		lines[name] = linesOf(bed.Process(name))
	}
	return lines
}

func linesOf(p *process.Process) int {
	ginkgo.GinkgoHelper()
	gomega.Expect(p).NotTo(gomega.BeNil())
	text, err := os.ReadFile(p.LogFile())
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return bytes.Count(text, []byte("\n"))
}
