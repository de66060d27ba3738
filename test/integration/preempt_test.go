// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/test/harness/testbed"
)

// kube-scheduler's own preemption, which asks the plugin's Filter about nodes without their victims: who goes
// is who makes the place, and nobody goes in vain. Where it counts, as stock kube-scheduler does, others go, and in vain:
// that is shown too, as else nothing here would need the plugin.
var _ = ginkgo.Describe("preemption", ginkgo.Ordered, func() {
	var bed *testbed.Testbed
	ginkgo.BeforeAll(func(ctx context.Context) {
		// Free for VMs: 6 CPUs of NUMA node 0 and 8 of NUMA node 1.
		bed = startTestbed(ctx, []testbed.Machine{alignedMachine("p1", "2 sockets x 1 numa x 4 cores x 2 threads", "0,8")})
		gomega.Expect(bed.Apply(ctx, []byte(priorities))).To(gomega.Succeed())
		_, err := bed.RunScheduler(ctx, "stock-scheduler", func(config map[string]any) {
			config["leaderElection"] = map[string]any{"leaderElect": false}
			config["profiles"] = []any{map[string]any{"schedulerName": "stock"}}
		})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
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
	futile := func(ctx context.Context, pod *corev1.Pod, wants ...string) {
		ginkgo.GinkgoHelper()
		before := uids(ctx)
		create(ctx, bed, pod)
		ginkgo.AddReportEntry("describe pod "+pod.Name, described(ctx, bed, pod.Name, wants...))
		gomega.Expect(uids(ctx)).To(gomega.Equal(before))
		remove(ctx, bed, pod.Name)
	}

	ginkgo.It("is not tried where the CPUs asked for can never be given", func(ctx context.Context) {
		futile(ctx, launcherPod("three", 3, alone, priority("high")),
			"1 node(s) gave whole cores only, and the CPUs asked aren't a multiple of the threads per core. ",
			"preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling")
	})
	ginkgo.It("evicts nobody from a node that is full, where the place would still not do", func(ctx context.Context) {
		create(ctx, bed, launcherPod("four-a", 4, alone, priority("middle")))
		eventuallyRunning(ctx, bed, []string{"six", "four-a"})
		create(ctx, bed, launcherPod("four-b", 4, alone, priority("low")))
		eventuallyRunning(ctx, bed, []string{"four-b"})
		futile(ctx, launcherPod("ten", 10, alone, priority("high")),
			"preemption: 0/1 nodes are available: 1 node(s) can't align so many exclusive CPUs on NUMA nodes")
	})
	ginkgo.It("finds no victim among pods of the same priority", func(ctx context.Context) {
		futile(ctx, launcherPod("equal", 8, alone, priority("low")), "No preemption victims found for incoming pod")
	})

	// refill removes all VMs, and then fills NUMA node 0 with one and NUMA node 1 with two, of which the first is the
	// most important of the three: whoever counts spares that one first.
	refill := func(ctx context.Context) {
		ginkgo.GinkgoHelper()
		for name := range uids(ctx) {
			remove(ctx, bed, name)
		}
		for _, pod := range []*corev1.Pod{launcherPod("six", 6, alone, priority("low")),
			launcherPod("four-a", 4, alone, priority("middle")), launcherPod("four-b", 4, alone, priority("low"))} {
			create(ctx, bed, pod)
			eventuallyRunning(ctx, bed, []string{pod.Name})
		}
		gomega.Expect(numaNodes(ctx, bed)).To(gomega.Equal(map[string]int{"six": 0, "four-a": 1, "four-b": 1}))
	}
	// evicted creates a pod that needs others' place, waits until it is as said, and tells who has gone.
	evicted := func(ctx context.Context, urgent *corev1.Pod, is gomega.OmegaMatcher) (gone []string) {
		ginkgo.GinkgoHelper()
		before, places := uids(ctx), numaNodes(ctx, bed)
		create(ctx, bed, urgent)
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			pod, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).Get(ctx, urgent.Name, metav1.GetOptions{})
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(string(pod.Status.Phase)+" "+pod.Status.Reason).To(is, "%s: %v", pod.Status.Message, pod.Status.Conditions)
		}).WithTimeout(deadline).Should(gomega.Succeed())
		after := uids(ctx)
		told := "NUMA nodes before: " + fmt.Sprint(places)
		for _, name := range slices.Sorted(maps.Keys(before)) {
			if after[name] != before[name] {
				gone = append(gone, name)
				told += "\n" + name + ": " + preempted(ctx, bed, before[name])
			}
		}
		ginkgo.AddReportEntry(urgent.Name, told+"\n"+urgent.Name+":"+described(ctx, bed, urgent.Name, "Successfully assigned"))
		return gone
	}
	admitted, refused := gomega.HavePrefix("Running"), gomega.Equal("Failed TopologyAffinityError")

	ginkgo.It("that counts spares the most important, and evicts others in vain", func(ctx context.Context) {
		refill(ctx)
		gomega.Expect(evicted(ctx, launcherPod("counted-eight", 8, alone, priority("high"), by("stock")), refused)).To(gomega.Equal([]string{"four-b", "six"}))
	})
	ginkgo.It("evicts those and only those whose NUMA node makes the place", func(ctx context.Context) {
		refill(ctx)
		gomega.Expect(evicted(ctx, launcherPod("urgent-eight", 8, alone, priority("high")), admitted)).To(gomega.Equal([]string{"four-a", "four-b"}))
		witness{bed}.noCPUTwice()
		neverMispredicted(ctx, bed, bed.Scheduler)
	})

	ginkgo.It("evicts a placeholder that keeps a whole node free", func(ctx context.Context) {
		for name := range uids(ctx) {
			remove(ctx, bed, name)
		}
		placeholder := launcherPod("placeholder", 14, alone, priority("low"), by("stock"), func(pod *corev1.Pod) {
			pod.Labels = map[string]string{}
			pod.Spec.Containers[0].Resources.Limits = nil
		})
		create(ctx, bed, placeholder)
		eventuallyRunning(ctx, bed, []string{"placeholder"})
		create(ctx, bed, launcherPod("needs-place", 8, alone, priority("high")))
		eventuallyRunning(ctx, bed, []string{"needs-place"})
		gomega.Expect(uids(ctx)).NotTo(gomega.HaveKey("placeholder"))
	})

	// loosen puts two CPUs where the six were. Six CPUs could then be made free on either NUMA node, and by the fewest
	// evictions on NUMA node 0.
	loosen := func(ctx context.Context) {
		ginkgo.GinkgoHelper()
		refill(ctx)
		remove(ctx, bed, "six")
		create(ctx, bed, launcherPod("two", 2, alone, priority("low"), labelled("app", "two")))
		eventuallyRunning(ctx, bed, []string{"two"})
		gomega.Expect(numaNodes(ctx, bed)).To(gomega.Equal(map[string]int{"two": 0, "four-a": 1, "four-b": 1}))
	}
	ginkgo.It("evicts the fewest where no disruption budget protects them", func(ctx context.Context) {
		loosen(ctx)
		gomega.Expect(evicted(ctx, launcherPod("bold-six", 6, alone, priority("high")), admitted)).To(gomega.Equal([]string{"two"}))
	})

	// protect loosens, and makes a budget forbid the eviction on NUMA node 0.
	protect := func(ctx context.Context) {
		ginkgo.GinkgoHelper()
		loosen(ctx)
		gomega.Expect(bed.Apply(ctx, fmt.Appendf(nil, budgetOfTwo, testbed.VMNamespace))).To(gomega.Succeed())
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			budget, err := bed.Client().PolicyV1().PodDisruptionBudgets(testbed.VMNamespace).Get(ctx, "two", metav1.GetOptions{})
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(budget.Status.ObservedGeneration).To(gomega.Equal(budget.Generation))
			g.Expect(budget.Status.CurrentHealthy).To(gomega.BeNumerically(">=", 1))
			g.Expect(budget.Status.DisruptionsAllowed).To(gomega.BeZero())
		}).WithTimeout(deadline).Should(gomega.Succeed())
	}
	ginkgo.It("with a disruption budget that counts spares the protected, and evicts another in vain", func(ctx context.Context) {
		protect(ctx)
		gomega.Expect(evicted(ctx, launcherPod("counted-six", 6, alone, priority("high"), by("stock")), refused)).To(gomega.Equal([]string{"four-b"}))
	})
	ginkgo.It("spares whom a disruption budget protects, where others can go", func(ctx context.Context) {
		protect(ctx)
		gomega.Expect(evicted(ctx, launcherPod("urgent-six", 6, alone, priority("high")), admitted)).To(gomega.Equal([]string{"four-a", "four-b"}))
		witness{bed}.noCPUTwice()
		neverMispredicted(ctx, bed, bed.Scheduler)
	})
})

// numaNodes tells which NUMA node the kubelet has given each VM its CPUs on.
func numaNodes(ctx context.Context, bed *testbed.Testbed) map[string]int {
	ginkgo.GinkgoHelper()
	pods, err := podsOf(ctx, bed)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	on := map[string]int{}
	for i := range pods {
		for _, id := range (witness{bed}).granted(&pods[i]).List() {
			cpu, known := bed.Nodes[pods[i].Spec.NodeName].Topology.CPU(id)
			gomega.Expect(known).To(gomega.BeTrue(), "CPU %d", id)
			if numaNode, seen := on[pods[i].Name]; seen {
				gomega.Expect(cpu.NUMANode).To(gomega.Equal(numaNode), "VM %s is on two NUMA nodes", pods[i].Name)
			}
			on[pods[i].Name] = cpu.NUMANode
		}
	}
	return on
}

// preempted is what a pod was told that had to go for another. The pod is gone; its event stays.
func preempted(ctx context.Context, bed *testbed.Testbed, uid string) (told string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		events, err := bed.Client().CoreV1().Events(testbed.VMNamespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=Preempted,involvedObject.uid=" + uid})
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(events.Items).To(gomega.HaveLen(1))
		told = events.Items[0].Reason + ": " + events.Items[0].Message
	}).WithTimeout(deadline).Should(gomega.Succeed())
	return told
}

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

const budgetOfTwo = `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: two, namespace: %s}
spec: {minAvailable: 1, selector: {matchLabels: {app: two}}}
`

// alone leaves out the sidecar: the exclusive CPUs are all that the node has.
func alone(pod *corev1.Pod) { pod.Spec.Containers = pod.Spec.Containers[:1] }

func priority(class string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.PriorityClassName = class }
}

// by leaves a pod to another scheduler.
func by(scheduler string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.SchedulerName = scheduler }
}

func labelled(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Labels[key] = value }
}
