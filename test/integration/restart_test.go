// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/testbed"
)

// Invariant 1, whatever dies: what has been promised to one VM is promised to no other, though the scheduler
// keeps no ledger and its successor starts from what the API server has.
var _ = ginkgo.Describe("200 VMs while schedulers and the API server are killed", ginkgo.Ordered, func() {
	const (
		nodes = 6
		vms   = 200
	)
	var (
		bed     *testbed.Testbed
		see     witness
		standby *process.Process
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		var machines []testbed.Machine
		for i := range nodes {
			machines = append(machines, alignedMachine(fmt.Sprintf("n%d", i), "2 sockets x 1 numa x 20 cores x 2 threads", "0,40"))
		}
		bed = startTestbed(ctx, machines)
		see = witness{bed}
	})
	// placed waits until so many pods are bound, and tells how many are.
	placed := func(ctx context.Context, atLeast int) (bound int) {
		ginkgo.GinkgoHelper()
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			pods, err := podsOf(ctx, bed)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			count := census(pods)
			bound = count["Bound"] + count["Running"] + count["Failed"]
			g.Expect(bound).To(gomega.BeNumerically(">=", atLeast), "%v", count)
		}).WithTimeout(deadline).Should(gomega.Succeed())
		return bound
	}

	ginkgo.It("binds go on through kill -9, a change of the leader and a restart of the API server", func(ctx context.Context) {
		var pods []*corev1.Pod
		for i := range vms {
			pods = append(pods, launcherPod(fmt.Sprintf("vm-%03d", i), 2))
		}
		began := time.Now()
		// creating makes pods while the test goes on: the scheduler binds faster than they are made.
		creating := func(some []*corev1.Pod) (wait func()) {
			made := make(chan struct{})
			go func() {
				defer ginkgo.GinkgoRecover()
				defer close(made)
				create(ctx, bed, some...)
			}()
			return func() { <-made }
		}
		// killed ends a process once so many pods are bound. Were all of them bound, nothing would be put to the test.
		killed := func(what string, victim *process.Process, atLeast int) {
			ginkgo.GinkgoHelper()
			bound := placed(ctx, atLeast)
			gomega.Expect(victim.Kill()).To(gomega.Succeed())
			ginkgo.AddReportEntry("kill -9 of "+what, fmt.Sprintf("after %.1fs, %d of %d VMs bound", time.Since(began).Seconds(), bound, vms))
			gomega.Expect(bound).To(gomega.BeNumerically("<", vms), "VMs bound before the kill -9 of %s", what)
		}
		wait := creating(pods[:90])
		killed("the only scheduler", bed.Scheduler, 20)
		wait()
		gomega.Expect(bed.Scheduler.Restart()).To(gomega.Succeed())
		placed(ctx, 70)
		var err error
		standby, err = bed.RunScheduler(ctx, "corepin-scheduler-standby", nil)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		wait = creating(pods[90:150])
		killed("the leader while another waits", bed.Scheduler, 100)
		wait()
		server := bed.Process("kube-apiserver")
		killed("the API server", server, 140)
		gomega.Expect(server.Restart()).To(gomega.Succeed())
		gomega.Eventually(ctx, func() error { // It answers before its admission plugins are ready.
			return bed.Client().Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		}).WithTimeout(deadline).Should(gomega.Succeed())
		placed(ctx, 140)
		create(ctx, bed, pods[150:]...)
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			// A leader that cannot renew its lease ends, and a Deployment would start it again.
			if !standby.Running() {
				g.Expect(standby.Restart()).To(gomega.Succeed())
			}
			pods, err := podsOf(ctx, bed)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			count := census(pods)
			g.Expect(count["Running"]+count["Failed"]).To(gomega.Equal(vms), "%v", count)
		}).WithTimeout(2 * deadline).Should(gomega.Succeed())
		ginkgo.AddReportEntry("all VMs admitted", fmt.Sprintf("after %.1fs", time.Since(began).Seconds()))
	})
	ginkgo.It("no kubelet refused a VM, and none has the CPUs of another", func(ctx context.Context) {
		pods, err := podsOf(ctx, bed)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		for i := range pods {
			gomega.Expect(string(pods[i].Status.Phase)).To(gomega.Equal("Running"), "%s: %s: %s", pods[i].Name, pods[i].Status.Reason, pods[i].Status.Message)
			gomega.Expect(see.granted(&pods[i]).Size()).To(gomega.Equal(2), pods[i].Name)
		}
		see.noCPUTwice()
		neverMispredicted(ctx, bed, bed.Scheduler, standby)
		ginkgo.AddReportEntry("pods", fmt.Sprint(census(pods)))
	})
})
