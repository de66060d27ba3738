// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

// attempt is a line of kube-scheduler's log for a pod that it tries to place.
var attempt = regexp.MustCompile(`"Attempting to schedule pod" pod="[^/"]+/([^"]+)"`)

// attempts counts the tries of each pod.
func attempts(bed *testbed.Testbed) map[string]int {
	ginkgo.GinkgoHelper()
	log, err := os.ReadFile(bed.Scheduler.LogFile())
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	tries := map[string]int{}
	for _, found := range attempt.FindAllSubmatch(log, -1) {
		tries[string(found[1])]++
	}
	return tries
}

// move is a line of kube-scheduler's log, at verbosity 5, for a pod that an event brings back to the queue.
var move = regexp.MustCompile(`"Pod moved to an internal scheduling queue" pod="[^"]+" event="([^"]+)" queue="([^"]+)"`)

// causes counts the events after which pods were tried again.
func causes(bed *testbed.Testbed) map[string]int {
	ginkgo.GinkgoHelper()
	log, err := os.ReadFile(bed.Scheduler.LogFile())
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	count := map[string]int{}
	for _, found := range move.FindAllSubmatch(log, -1) {
		count[string(found[1])+" to "+string(found[2])]++
	}
	return count
}

// allBound waits until each pod is on a node.
func allBound(ctx context.Context, bed *testbed.Testbed, names []string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		pods, err := podsOf(ctx, bed)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		var waiting []string
		for i := range pods {
			if pods[i].Spec.NodeName == "" {
				waiting = append(waiting, pods[i].Name)
			}
		}
		g.Expect(pods).To(gomega.HaveLen(len(names)))
		g.Expect(waiting).To(gomega.BeEmpty())
	}).WithTimeout(deadline).Should(gomega.Succeed())
}

// A report wakes those that it lets in, and those alone, however many wait for it.
var _ = ginkgo.Describe("a hundred VMs that start at once", func() {
	const count = 100
	ginkgo.DescribeTable("are each tried a few times", func(ctx context.Context, cpus func(i int) int) {
		var machines []testbed.Machine
		for i := range 3 {
			m := alignedMachine(fmt.Sprint("s", i), "2 sockets x 1 numa x 32 cores x 2 threads", "0,64")
			m.Kubelet.CPUManagerPolicyOptions = nil
			machines = append(machines, m)
		}
		machines = append(machines, testbed.Machine{Name: "shared", Topology: machines[0].Topology, Kubelet: simnode.KubeletSettings{}})
		bed := startTestbedWith(ctx, testbed.Options{Machines: machines, Verbosity: 5})
		var names []string
		for i := range count {
			names = append(names, fmt.Sprintf("start-%02d", i))
			create(ctx, bed, launcherPod(names[i], cpus(i)))
		}
		allBound(ctx, bed, names)
		tries := attempts(bed)
		sum := 0
		var each []int
		for _, name := range names {
			sum += tries[name]
			each = append(each, tries[name])
		}
		slices.Sort(each)
		ginkgo.AddReportEntry("events that brought pods back", causes(bed))
		ginkgo.AddReportEntry("tries", fmt.Sprintf("%d in all, median %d, most %d", sum, each[count/2], each[count-1]))
		gomega.Expect(sum).To(gomega.BeNumerically("<", 10*count))
	},
		ginkgo.Entry("where all ask alike", func(int) int { return 1 }),
		ginkgo.Entry("where they ask for one, two, three and four CPUs", func(i int) int { return 1 + i%4 }),
	)
})

// Nobody can tell which CPUs a VM was given whose neighbour came and went before any report had it. The next report tells.
var _ = ginkgo.Describe("a VM whose neighbours are deleted before a report has them", ginkgo.Ordered, func() {
	ginkgo.It("waits for that report, and no longer", func(ctx context.Context) {
		const rounds = 20
		bed := startTestbed(ctx, []testbed.Machine{alignedMachine("q1", "2 sockets x 1 numa x 16 cores x 2 threads", "0,32")})
		f := followPods(ctx, bed)
		for i := range rounds {
			stays := fmt.Sprintf("stays-%02d", i)
			gone := fmt.Sprintf("gone-%02d", i)
			waits := fmt.Sprintf("waits-%02d", i)
			create(ctx, bed, launcherPod(gone, 6, alone), launcherPod(stays, 2, alone))
			eventuallyOnNode(ctx, bed, gone)
			remove(ctx, bed, gone)
			f.made(waits)
			create(ctx, bed, launcherPod(waits, 30, alone))
			eventuallyOnNode(ctx, bed, waits)
			remove(ctx, bed, stays, waits)
			gomega.Eventually(ctx, func(g gomega.Gomega) {
				pods, err := podsOf(ctx, bed)
				g.Expect(err).NotTo(gomega.HaveOccurred())
				g.Expect(pods).To(gomega.BeEmpty())
			}).WithTimeout(deadline).Should(gomega.Succeed())
		}
		waited := f.of("waits")
		ginkgo.AddReportEntry("waits", fmt.Sprintf("of %d: median %s, longest %s, %d refused", rounds,
			waited.waits[rounds/2], waited.waits[rounds-1], waited.refused))
		gomega.Expect(waited.refused).To(gomega.BeZero())
		// What came beside pods that nobody has seen is not compared with its prediction.
		comeAlone(ctx, bed, "q1", launcherPod("last", 2, alone), launcherPod("very-last", 2, alone))
		neverMispredicted(ctx, bed, bed.Scheduler)
	})
})

// eventuallyOnNode waits until a pod is bound.
func eventuallyOnNode(ctx context.Context, bed *testbed.Testbed, name string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		pod, err := quick(bed).CoreV1().Pods(testbed.VMNamespace).Get(ctx, name, metav1.GetOptions{})
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(pod.Spec.NodeName).NotTo(gomega.BeEmpty(), "%v", pod.Status.Conditions)
	}).WithPolling(20 * time.Millisecond).WithTimeout(3 * deadline).Should(gomega.Succeed())
}
