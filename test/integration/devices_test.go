// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

// A network card's virtual functions and huge pages, as the pods ask for them.
const (
	vf   = corev1.ResourceName("intel.com/vf")
	page = corev1.ResourceName("hugepages-1Gi")
)

// The kubelets' own CPU, memory and device managers decide here. On each node NUMA node 0 has six VFs and 14 CPUs for VMs, NUMA
// node 1 two VFs and 16 CPUs. Each has 16 GiB, of which four are huge pages.
var _ = ginkgo.Describe("Memory and devices", ginkgo.Ordered, func() {
	var bed *testbed.Testbed
	nodes := []string{"single", "restricted", "whole-pod"}
	ginkgo.BeforeAll(func(ctx context.Context) {
		bed = startTestbed(ctx, []testbed.Machine{
			deviceMachine("single", "single-numa-node", "container"),
			deviceMachine("restricted", "restricted", "container"),
			deviceMachine("whole-pod", "restricted", "pod"),
		})
		for _, node := range nodes {
			gomega.Eventually(ctx, func(g gomega.Gomega) {
				report, err := bed.Report(ctx, node)
				g.Expect(err).NotTo(gomega.HaveOccurred())
				g.Expect(sumOfDevices(report)).To(gomega.Equal(8))
			}).WithTimeout(deadline).Should(gomega.Succeed())
		}
	})

	ginkgo.It("are granted as the report lets one predict", func(ctx context.Context) {
		see := deviceWitness{witness{bed}}
		var said []string
		for _, node := range nodes {
			for _, pod := range []*corev1.Pod{
				launcherPod("card-"+node, 4, on(node), requesting(vf, "1")),
				launcherPod("pages-"+node, 6, on(node), requesting(page, "2Gi")),
				launcherPod("both-"+node, 4, on(node), requesting(vf, "2"), requesting(page, "1Gi")),
				launcherPod("memory-"+node, 2, on(node), requesting(corev1.ResourceMemory, "7Gi")),
			} {
				said = append(said, see.predictedIsGranted(ctx, pod, node))
			}
		}
		ginkgo.AddReportEntry("predicted and granted", strings.Join(said, "\n"))
		see.noCPUTwice()
	})

	refusal := func(what, want string, pod *corev1.Pod) {
		ginkgo.It(what+" is not bound, and its pod says with numbers why", func(ctx context.Context) {
			create(ctx, bed, pod)
			events := described(ctx, bed, pod.Name, want)
			ginkgo.AddReportEntry("describe pod "+pod.Name, "kubectl describe pod "+pod.Name+"\nEvents:"+events)
			gomega.Expect(events).To(gomega.MatchRegexp(`1 node\(s\) (didn't have|can't give) the CPUs, memory and devices asked`))
			remove(ctx, bed, pod.Name)
		})
	}
	refusal("a VM with more VFs than a NUMA node has left", "3 of 4 intel.com/vf; NUMA node 1 has", launcherPod("vf-vm", 2, on("single"), requesting(vf, "4")))
	refusal("a VM with more huge pages than a NUMA node has left", "4 GiB of 5 GiB hugepages-1Gi", launcherPod("page-vm", 2, on("single"), requesting(page, "5Gi")))

	ginkgo.It("let a VM be wider than a NUMA node where its kubelet looks at the pod as a whole", func(ctx context.Context) {
		removeAll(ctx, bed)
		create(ctx, bed, launcherPod("wide", 20, on("restricted"), requesting(page, "6Gi"), consoleLog))
		const want = "fits if its kubelet has topology manager scope pod"
		ginkgo.AddReportEntry("describe pod wide", "kubectl describe pod wide\nEvents:"+described(ctx, bed, "wide", want))
		remove(ctx, bed, "wide")
		see := deviceWitness{witness{bed}}
		said := see.predictedIsGranted(ctx, launcherPod("wide-whole", 20, on("whole-pod"), requesting(page, "6Gi"), consoleLog), "whole-pod")
		ginkgo.AddReportEntry("predicted and granted", said)
	})

	ginkgo.It("fill the nodes without a refusal, where stock kube-scheduler has some", func(ctx context.Context) {
		table := ""
		fill := func(scheduler string) tally {
			removeAll(ctx, bed)
			create(ctx, bed, fillOf(scheduler)...)
			total := settled(ctx, bed)
			table += scheduler + ": " + placed(ctx, bed, total) + "\n"
			return total
		}
		ours := fill("corepin")
		neverMispredicted(ctx, bed, bed.Scheduler)
		stock, err := bed.RunScheduler(ctx, "stock-devices", func(config map[string]any) {
			config["leaderElection"] = map[string]any{"leaderElect": false}
			config["profiles"] = []any{map[string]any{"schedulerName": corev1.DefaultSchedulerName}}
		})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		theirs := fill(corev1.DefaultSchedulerName)
		gomega.Expect(stock.Stop()).To(gomega.Succeed())
		ginkgo.AddReportEntry("the same VMs through both schedulers", table)
		gomega.Expect(ours.refusedVMs).To(gomega.BeZero(), table)
		gomega.Expect(ours.bound).To(gomega.BeNumerically(">", 0), table)
		gomega.Expect(theirs.refusedVMs).To(gomega.BeNumerically(">", 0), "the VMs are too easy to prove anything:\n%s", table)
	})
})

// deviceMachine is a node with memory manager policy Static, huge pages, and VFs on both of its NUMA nodes.
func deviceMachine(name, policy, scope string) testbed.Machine {
	machine := alignedMachine(name, "2 sockets x 1 numa x 8 cores x 2 threads", "0,16")
	machine.Kubelet.TopologyManagerPolicy = policy
	machine.Kubelet.TopologyManagerScope = scope
	machine.Kubelet.MemoryManagerPolicy = "Static"
	machine.Memory = "32Gi"
	machine.HugePages = map[string]int64{string(page): 4}
	var cards []simnode.Device
	for i, numaNode := range []int64{0, 0, 0, 0, 0, 0, 1, 1} {
		cards = append(cards, simnode.Device{ID: fmt.Sprintf("0000:3b:02.%d", i), NUMANodes: []int64{numaNode}})
	}
	machine.Devices = map[string][]simnode.Device{string(vf): cards}
	return machine
}

// requesting makes the pod's compute container ask for so much of a resource.
func requesting(name corev1.ResourceName, amount string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		compute := &pod.Spec.Containers[0].Resources
		compute.Requests[name] = resource.MustParse(amount)
		compute.Limits[name] = resource.MustParse(amount)
	}
}

// consoleLog adds the sidecar in which KubeVirt logs a guest's console. The kubelet admits it before compute.
func consoleLog(pod *corev1.Pod) {
	always := corev1.ContainerRestartPolicyAlways
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("15m"), corev1.ResourceMemory: resource.MustParse("60M")}
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{
		Name: "guest-console-log", Image: "none", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: list, Limits: list},
	})
}

// sumOfDevices is how many devices a report has in all.
func sumOfDevices(report *v1alpha1.NodeCPU) (sum int) {
	for _, devices := range report.Status.Devices {
		for _, group := range devices.Groups {
			sum += int(group.Devices)
		}
	}
	return sum
}

// fillOf are more VMs than the nodes have room for, half of them with VFs, a third with huge pages.
func fillOf(scheduler string) (pods []*corev1.Pod) {
	random := rand.New(rand.NewPCG(18, 0))
	for i := range 36 {
		pod := launcherPod(fmt.Sprintf("vm-%02d", i), 2+2*random.IntN(3), requesting(corev1.ResourceMemory, fmt.Sprint(1+random.IntN(3), "Gi")))
		if random.IntN(2) == 0 {
			requesting(vf, fmt.Sprint(1+random.IntN(2)))(pod)
		}
		if random.IntN(3) == 0 {
			requesting(page, fmt.Sprint(1+random.IntN(2), "Gi"))(pod)
		}
		pod.Spec.SchedulerName = scheduler
		pods = append(pods, pod)
	}
	return pods
}

// placed says what runs.
func placed(ctx context.Context, bed *testbed.Testbed, total tally) string {
	ginkgo.GinkgoHelper()
	pods, err := podsOf(ctx, bed)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	var cpus, cards, pages int64
	for i := range pods {
		if pods[i].Status.Phase != corev1.PodRunning {
			continue
		}
		limits := pods[i].Spec.Containers[0].Resources.Limits
		card := limits[vf]
		huge := limits[page]
		cpus += limits.Cpu().Value()
		cards += card.Value()
		pages += huge.Value() >> 30
	}
	return fmt.Sprintf("%d VMs bound, %d refused by their kubelets, %d without room; %d CPUs of 90, %d VFs of 24 and %d huge pages of 24 in use",
		total.bound, total.refusedVMs, total.waiting, cpus, cards, pages)
}

// removeAll removes the VMs' pods.
func removeAll(ctx context.Context, bed *testbed.Testbed) {
	ginkgo.GinkgoHelper()
	gomega.Expect(bed.Client().CoreV1().Pods(testbed.VMNamespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})).To(gomega.Succeed())
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		pods, err := podsOf(ctx, bed)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(pods).To(gomega.BeEmpty())
	}).WithTimeout(deadline).Should(gomega.Succeed())
}

// holders are the pods to which a report says that something was granted, each once.
func holders(report *v1alpha1.NodeCPU) (uids []string) {
	for _, grant := range report.Status.Granted {
		uids = append(uids, string(grant.PodUID))
	}
	for _, grant := range report.Status.MemoryManager.Granted {
		uids = append(uids, string(grant.PodUID))
	}
	for _, devices := range report.Status.Devices {
		for _, held := range devices.Held {
			for _, uid := range held.PodUIDs {
				uids = append(uids, string(uid))
			}
		}
	}
	slices.Sort(uids)
	return slices.Compact(uids)
}
