// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

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
		moments := watchWait(ctx, bed, uidOf(ctx, bed, "on-1"), "eight")
		remove(ctx, bed, "on-1")
		ginkgo.AddReportEntry("for the CPUs of a VM that is gone", moments())
		eventuallyRunning(ctx, bed, []string{"eight"})
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
		neverMispredicted(ctx, bed, bed.Scheduler)
	})
	ginkgo.It("are tried when the report comes that frees the CPUs", func(ctx context.Context) {
		// Which NUMA node a pod of 6 CPUs gets depends on whether the kubelet has heard before that another is gone. That is
		// known of pods that this scheduler binds. Of others nothing but the report tells, and that is in the hands of the test.
		create(ctx, bed, launcherPod("leaves", 6, alone))
		reported(ctx, "leaves")
		agent := bed.Nodes["w1"].Agent
		gomega.Expect(agent.Stop()).To(gomega.Succeed())
		gone := uidOf(ctx, bed, "leaves")
		remove(ctx, bed, "leaves")
		create(ctx, bed, launcherPod("comes", 6, alone, func(p *corev1.Pod) { p.Spec.NodeName = "w1" }))
		eventuallyRunning(ctx, bed, []string{"comes"})
		create(ctx, bed, launcherPod("waits", 8, alone))
		ginkgo.AddReportEntry("describe pod waits", described(ctx, bed, "waits", "1 node(s) had several pods in flight, waiting for the CPU report"))
		moments := watchWait(ctx, bed, gone, "waits")
		gomega.Expect(agent.Restart()).To(gomega.Succeed())
		ginkgo.AddReportEntry("for the report that tells whose CPUs are free", moments())
		eventuallyRunning(ctx, bed, []string{"waits"})
		remove(ctx, bed, "comes", "waits")
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
		ginkgo.AddReportEntry("describe pod guessed", described(ctx, bed, "guessed", "by a count of free CPUs only"))
		crd.SetResourceVersion("")
		crd.SetUID("")
		_, err = crds.Create(ctx, crd, metav1.CreateOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(bed.AwaitReported(ctx, "w1")).To(gomega.Succeed())
		// The report is there, and the scheduler may see it a moment later.
		tries := 0
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			tries++
			name := fmt.Sprintf("exact-%d", tries)
			create(ctx, bed, launcherPod(name, 2, alone))
			eventuallyRunning(ctx, bed, []string{name}, "w1")
			remove(ctx, bed, name)
			log, err := os.ReadFile(bed.Scheduler.LogFile())
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(string(log)).To(gomega.MatchRegexp(`bound a pod with exclusive CPUs.* pod="vms/` + name + `" node="w1" state="exact"`))
		}).WithTimeout(deadline).Should(gomega.Succeed())
	})
})

// watchWait watches one VM wait for the CPUs of another. What it returns waits until that VM is bound, and tells when
// that was: since the watch began, and since it showed that w1's report has the other no longer. The scheduler need not
// wait for that report where the kubelet, too, takes the CPUs of a VM that is gone for free.
func watchWait(ctx context.Context, bed *testbed.Testbed, gone types.UID, waits string) func() string {
	ginkgo.GinkgoHelper()
	report := metav1.ListOptions{FieldSelector: "metadata.name=w1"}
	reports, err := bed.Dynamic().Resource(v1alpha1.Resource).Watch(ctx, report)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	pod := metav1.ListOptions{FieldSelector: "metadata.name=" + waits}
	pods, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).Watch(ctx, pod)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	freed := seen(reports, func(object runtime.Object) bool {
		report, err := testbed.DecodeReport(object)
		return err == nil && !slices.ContainsFunc(report.Status.Granted, func(grant v1alpha1.PodGrant) bool { return grant.PodUID == gone })
	})
	bound := seen(pods, func(object runtime.Object) bool {
		pod, isPod := object.(*corev1.Pod)
		return isPod && pod.Spec.NodeName != ""
	})
	began := time.Now()
	return func() string {
		ginkgo.GinkgoHelper()
		var freedAt, boundAt time.Time
		gomega.Eventually(ctx, freed).WithTimeout(deadline).Should(gomega.Receive(&freedAt), lastState(ctx, bed))
		gomega.Eventually(ctx, bound).WithTimeout(10*time.Second).Should(gomega.Receive(&boundAt), lastState(ctx, bed))
		told := fmt.Sprintf("%s bound %s after the test made it possible; ", waits, boundAt.Sub(began).Round(time.Millisecond))
		if boundAt.Before(freedAt) {
			return told + fmt.Sprintf("the report that frees the CPUs came %s later", freedAt.Sub(boundAt).Round(time.Millisecond))
		}
		return told + fmt.Sprintf("%s after the report that frees the CPUs", boundAt.Sub(freedAt).Round(time.Millisecond))
	}
}

func uidOf(ctx context.Context, bed *testbed.Testbed, name string) types.UID {
	ginkgo.GinkgoHelper()
	pod, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).Get(ctx, name, metav1.GetOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return pod.UID
}

// seen gives the moment at which a watch first shows what is looked for.
func seen(from watch.Interface, lookedFor func(runtime.Object) bool) <-chan time.Time {
	ginkgo.DeferCleanup(from.Stop)
	at := make(chan time.Time, 1)
	go func() {
		for event := range from.ResultChan() {
			if lookedFor(event.Object) {
				at <- time.Now()
				return
			}
		}
	}()
	return at
}

// lastState describes, for a failure, the VMs and what w1 has reported.
func lastState(ctx context.Context, bed *testbed.Testbed) func() string {
	return func() string {
		pods, err := podsOf(ctx, bed)
		report, reportErr := bed.Report(ctx, "w1")
		if err := errors.Join(err, reportErr); err != nil {
			return err.Error()
		}
		return fmt.Sprintf("VMs: %v, granted: %v", census(pods), report.Status.Granted)
	}
}

// halfCPU makes the compute container ask for a CPU and a half.
func halfCPU(pod *corev1.Pod) {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
}
