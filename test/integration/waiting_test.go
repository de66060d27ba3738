package integration

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

var _ = ginkgo.Describe("VMs that have to wait", ginkgo.Ordered, func() {
	var bed *testbed.Testbed
	ginkgo.BeforeAll(func(ctx context.Context) {
		// Node w1 has 6 CPUs for VMs on NUMA node 0 and 8 on NUMA node 1, w2 has no CPU manager.
		w2 := alignedMachine("w2", "1 sockets x 1 numa x 8 cores x 2 threads", "0,8")
		w2.Kubelet = simnode.KubeletSettings{SystemReservedCPU: "1"}
		bed = startTestbed(ctx, []testbed.Machine{alignedMachine("w1", "2 sockets x 1 numa x 4 cores x 2 threads", "0,8"), w2})
	})
	// tries is how often the scheduler has tried to place a pod.
	tries := func(pod string) int {
		ginkgo.GinkgoHelper()
		log, err := os.ReadFile(bed.Scheduler.LogFile())
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		return strings.Count(string(log), fmt.Sprintf("\"Attempting to schedule pod\" pod=%q", testbed.VMNamespace+"/"+pod))
	}

	// reported waits until the report of w1 has these pods and no others.
	reported := func(ctx context.Context, names ...string) {
		ginkgo.GinkgoHelper()
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			var uids []types.UID
			for _, name := range names {
				pod, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).Get(ctx, name, metav1.GetOptions{})
				g.Expect(err).NotTo(gomega.HaveOccurred())
				uids = append(uids, pod.UID)
			}
			report, err := bed.Report(ctx, "w1")
			g.Expect(err).NotTo(gomega.HaveOccurred())
			var granted []types.UID
			for _, pod := range report.Status.Granted {
				granted = append(granted, pod.PodUID)
			}
			g.Expect(granted).To(gomega.ConsistOf(uids))
		}).WithTimeout(deadline).Should(gomega.Succeed())
	}

	ginkgo.It("are told why, in words that a user of Kubernetes knows", func(ctx context.Context) {
		// Two CPUs of either NUMA node are taken, so that 8 of the 12 free ones are not on one.
		create(ctx, bed, launcherPod("six", 6, alone))
		eventuallyRunning(ctx, bed, []string{"six"}, "w1")
		create(ctx, bed, launcherPod("two", 2, alone))
		eventuallyRunning(ctx, bed, []string{"two"}, "w1")
		remove(ctx, bed, "six")
		_, err := bed.Kubectl(ctx, "label", "node", "w2", "cpumanager=true", "kubernetes.io/hostname=w2", "--overwrite")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		onW2 := func(pod *corev1.Pod) { pod.Spec.NodeSelector["kubernetes.io/hostname"] = "w2" }
		onW1 := func(pod *corev1.Pod) { pod.Spec.NodeSelector["kubernetes.io/hostname"] = "w1" }
		for _, refusal := range []struct {
			pod  *corev1.Pod
			want string
		}{
			{launcherPod("too-wide", 10, alone, onW1), "1 node(s) can't align so many exclusive CPUs on NUMA nodes"},
			{launcherPod("odd", 3, alone, onW1), "1 node(s) gave whole cores only, and the CPUs asked aren't a multiple of the threads per core"},
			{launcherPod("scattered", 8, alone, onW1), "1 node(s) didn't have enough free exclusive CPUs aligned on NUMA nodes"},
			{launcherPod("unmanaged", 2, alone, onW2), "1 node(s) didn't run the kubelet's static CPU manager"},
			{launcherPod("misfit", 2, halfCPU), "the VM asks for dedicated CPUs, but no kubelet would give its launcher pod exclusive ones"},
		} {
			create(ctx, bed, refusal.pod)
			ginkgo.AddReportEntry("describe pod "+refusal.pod.Name, described(ctx, bed, refusal.pod.Name, refusal.want))
			remove(ctx, bed, refusal.pod.Name)
		}
		_, err = bed.Kubectl(ctx, "label", "node", "w2", "cpumanager-")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		remove(ctx, bed, "two")
	})
	ginkgo.It("are tried when a pod's end could help them, and only then", func(ctx context.Context) {
		// As before, and then two CPUs of NUMA node 0 as well: by count there is room for 8.
		for _, vm := range []struct {
			name string
			cpus int
		}{{"six", 6}, {"on-1", 2}} {
			create(ctx, bed, launcherPod(vm.name, vm.cpus, alone))
			eventuallyRunning(ctx, bed, []string{vm.name}, "w1")
		}
		remove(ctx, bed, "six")
		create(ctx, bed, launcherPod("on-0", 2, alone))
		reported(ctx, "on-0", "on-1")
		create(ctx, bed, launcherPod("eight", 8, alone))
		described(ctx, bed, "eight", "aligned on NUMA nodes")
		before := tries("eight")
		remove(ctx, bed, "on-0")
		create(ctx, bed, launcherPod("next", 6, alone))
		reported(ctx, "next", "on-1")
		gomega.Expect(tries("eight")).To(gomega.Equal(before), "what went left no room for 8")
		remove(ctx, bed, "on-1")
		began := time.Now()
		eventuallyRunning(ctx, bed, []string{"eight"})
		ginkgo.AddReportEntry("from the end of one VM to the next one running", time.Since(began).Round(time.Millisecond).String())
		gomega.Expect(tries("eight")).To(gomega.Equal(before + 1))
		remove(ctx, bed, "next", "eight")
	})
	ginkgo.It("are tried when the report comes that they wait for", func(ctx context.Context) {
		var names []string
		for i := range 7 {
			names = append(names, fmt.Sprintf("pair-%d", i))
			create(ctx, bed, launcherPod(names[i], 2, alone))
		}
		eventuallyRunning(ctx, bed, names)
		ginkgo.AddReportEntry("7 VMs for the 7 free cores of one node", fmt.Sprintf("tries of each: %d %d %d %d %d %d %d", tries("pair-0"), tries("pair-1"),
			tries("pair-2"), tries("pair-3"), tries("pair-4"), tries("pair-5"), tries("pair-6")))
		witness{bed}.noCPUTwice()
		remove(ctx, bed, names...)
		neverMispredicted(bed.Scheduler)
	})
	ginkgo.It("wait quietly while the scheduler starts", func(ctx context.Context) {
		gomega.Expect(bed.Scheduler.Kill()).To(gomega.Succeed())
		create(ctx, bed, launcherPod("early", 2, alone))
		gomega.Expect(bed.Scheduler.Restart()).To(gomega.Succeed())
		eventuallyRunning(ctx, bed, []string{"early"}, "w1")
		gomega.Expect(described(ctx, bed, "early", "Scheduled")).NotTo(gomega.ContainSubstring("FailedScheduling"))
		remove(ctx, bed, "early")
	})
	ginkgo.It("without the CRD the scheduler works, estimates, and says so", func(ctx context.Context) {
		gomega.Expect(bed.Scheduler.Kill()).To(gomega.Succeed())
		crds := bed.Dynamic().Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
		name := v1alpha1.Resource.GroupResource().String()
		crd, err := crds.Get(ctx, name, metav1.GetOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(crds.Delete(ctx, name, metav1.DeleteOptions{})).To(gomega.Succeed())
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			_, err := crds.Get(ctx, name, metav1.GetOptions{})
			g.Expect(apierrors.IsNotFound(err)).To(gomega.BeTrue(), "%v", err)
		}).WithTimeout(deadline).Should(gomega.Succeed())
		gomega.Expect(bed.Scheduler.Restart()).To(gomega.Succeed())
		create(ctx, bed, launcherPod("ordinary", 1, func(pod *corev1.Pod) { pod.Labels, pod.Spec.NodeSelector = nil, nil }), launcherPod("guessed", 2, alone))
		eventuallyRunning(ctx, bed, []string{"ordinary", "guessed"})
		ginkgo.AddReportEntry("describe pod guessed", described(ctx, bed, "guessed", "estimated"))
		crd.SetResourceVersion("")
		crd.SetUID("")
		_, err = crds.Create(ctx, crd, metav1.CreateOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(bed.AwaitReported(ctx, "w1")).To(gomega.Succeed())
		create(ctx, bed, launcherPod("exact", 2, alone))
		eventuallyRunning(ctx, bed, []string{"exact"}, "w1")
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			log, err := os.ReadFile(bed.Scheduler.LogFile())
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(string(log)).To(gomega.MatchRegexp(`bound a pod with exclusive CPUs.* pod="vms/exact" node="w1" standing="exact"`))
		}).WithTimeout(deadline).Should(gomega.Succeed())
	})
})

// halfCPU makes the compute container ask for a CPU and a half.
func halfCPU(pod *corev1.Pod) {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
}
