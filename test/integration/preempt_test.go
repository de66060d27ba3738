package integration

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/test/harness/testbed"
)

// kube-scheduler's own preemption, which asks the plugin's Filter about nodes without their victims: who goes
// is who makes the place, and nobody goes in vain.
var _ = ginkgo.Describe("preemption", ginkgo.Ordered, func() {
	var bed *testbed.Testbed
	ginkgo.BeforeAll(func(ctx context.Context) {
		// Free for VMs: 6 CPUs of NUMA node 0 and 8 of NUMA node 1.
		bed = startTestbed(ctx, []testbed.Machine{alignedMachine("p1", "2 sockets x 1 numa x 4 cores x 2 threads", "0,8")})
		gomega.Expect(bed.Apply(ctx, []byte(priorities))).To(gomega.Succeed())
		create(ctx, bed, launcherPod("six", 6, alone, priority("low"), labelled("app", "six")))
		eventuallyRunning(ctx, bed, []string{"six"})
	})
	uids := func(ctx context.Context) map[string]string {
		ginkgo.GinkgoHelper()
		pods, err := podsOf(ctx, bed)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		found := map[string]string{}
		for _, pod := range pods {
			if pod.Spec.NodeName != "" && pod.DeletionTimestamp == nil {
				found[pod.Name] = string(pod.UID)
			}
		}
		return found
	}

	// futile creates a pod for which nobody must be evicted, and removes it when its events say what is wanted.
	futile := func(ctx context.Context, pod *corev1.Pod, want string) {
		ginkgo.GinkgoHelper()
		before := uids(ctx)
		create(ctx, bed, pod)
		ginkgo.AddReportEntry("describe pod "+pod.Name, described(ctx, bed, pod.Name, want))
		gomega.Expect(uids(ctx)).To(gomega.Equal(before))
		remove(ctx, bed, pod.Name)
	}

	ginkgo.It("is not tried where the CPUs asked for can never be given", func(ctx context.Context) {
		futile(ctx, launcherPod("three", 3, alone, priority("high")),
			"1 node(s) gave whole cores only, and the CPUs asked aren't a multiple of the threads per core. no new claims to deallocate, "+
				"preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling")
	})
	ginkgo.It("evicts nobody from a node that is full, where the place would still not do", func(ctx context.Context) {
		create(ctx, bed, launcherPod("four-a", 4, alone, priority("low"), labelled("app", "four")))
		eventuallyRunning(ctx, bed, []string{"six", "four-a"})
		create(ctx, bed, launcherPod("four-b", 4, alone, priority("low"), labelled("app", "four")))
		eventuallyRunning(ctx, bed, []string{"four-b"})
		futile(ctx, launcherPod("ten", 10, alone, priority("high")),
			"preemption: 0/1 nodes are available: 1 node(s) can't align so many exclusive CPUs on NUMA nodes")
	})
	ginkgo.It("finds no victim among pods of the same priority", func(ctx context.Context) {
		futile(ctx, launcherPod("equal", 8, alone, priority("low")), "No preemption victims found for incoming pod")
	})
	ginkgo.It("spares whom a disruption budget protects, where others can go", func(ctx context.Context) {
		// Six CPUs could be made free on either NUMA node.
		budget := fmt.Appendf(nil, "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: four, namespace: %s}\n"+
			"spec: {minAvailable: 2, selector: {matchLabels: {app: four}}}\n", testbed.VMNamespace)
		gomega.Expect(bed.Apply(ctx, budget)).To(gomega.Succeed())
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			budget, err := bed.Client().PolicyV1().PodDisruptionBudgets(testbed.VMNamespace).Get(ctx, "four", metav1.GetOptions{})
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(budget.Status.ObservedGeneration).To(gomega.Equal(budget.Generation))
			g.Expect(budget.Status.CurrentHealthy).To(gomega.BeNumerically(">=", 2))
		}).WithTimeout(deadline).Should(gomega.Succeed())
		create(ctx, bed, launcherPod("urgent-six", 6, alone, priority("middle")))
		eventuallyRunning(ctx, bed, []string{"urgent-six"})
		gomega.Expect(uids(ctx)).To(gomega.And(gomega.HaveKey("four-a"), gomega.HaveKey("four-b"), gomega.Not(gomega.HaveKey("six"))))
		gomega.Expect(bed.Client().PolicyV1().PodDisruptionBudgets(testbed.VMNamespace).Delete(ctx, "four", metav1.DeleteOptions{})).To(gomega.Succeed())
	})
	ginkgo.It("evicts those and only those whose NUMA node makes the place", func(ctx context.Context) {
		create(ctx, bed, launcherPod("urgent-eight", 8, alone, priority("high")))
		eventuallyRunning(ctx, bed, []string{"urgent-eight"})
		gomega.Expect(uids(ctx)).To(gomega.And(gomega.HaveKey("urgent-six"), gomega.HaveLen(2)))
		ginkgo.AddReportEntry("urgent-eight", described(ctx, bed, "urgent-eight", "Successfully assigned"))
		witness{bed}.noCPUTwice()
		neverMispredicted(bed.Scheduler)
	})
})

const priorities = `
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: low}
value: 1
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: middle}
value: 2
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 3
`

// alone leaves out the sidecar: the exclusive CPUs are all that the node has.
func alone(pod *corev1.Pod) { pod.Spec.Containers = pod.Spec.Containers[:1] }

func priority(class string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.PriorityClassName = class }
}

func labelled(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Labels[key] = value }
}
