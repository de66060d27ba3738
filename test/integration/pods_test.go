// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

// alignedMachine is a node that gives whole cores of one NUMA node.
func alignedMachine(name, topology, reserved string) testbed.Machine {
	return testbed.Machine{Name: name, Topology: cputopology.MustParse(topology), Kubelet: simnode.KubeletSettings{
		CPUManagerPolicy:        "static",
		CPUManagerPolicyOptions: map[string]string{"full-pcpus-only": "true"},
		TopologyManagerPolicy:   "single-numa-node",
		ReservedSystemCPUs:      reserved,
	}}
}

// launcherPod is the launcher pod of a dedicated VM whose guest is of no interest: compute with so many CPUs, and
// a sidecar of 200m. Nobody makes a failed one again.
func launcherPod(name string, cpus int, changes ...func(*corev1.Pod)) *corev1.Pod {
	container := func(name, cpu string) corev1.Container {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("64Mi")}
		return corev1.Container{Name: name, Image: "none", Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}
	}
	none := int64(0)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: testbed.VMNamespace, Name: name, Labels: map[string]string{"kubevirt.io": "virt-launcher"}},
		Spec: corev1.PodSpec{
			SchedulerName:                 "corepin",
			NodeSelector:                  map[string]string{"cpumanager": "true"},
			TerminationGracePeriodSeconds: &none,
			Containers:                    []corev1.Container{container("compute", fmt.Sprint(cpus)), container("hook", "200m")},
		},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

// quick is a client that does not hold itself back.
func quick(bed *testbed.Testbed) kubernetes.Interface {
	ginkgo.GinkgoHelper()
	config := rest.CopyConfig(bed.AdminConfig())
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return client
}

func create(ctx context.Context, bed *testbed.Testbed, pods ...*corev1.Pod) {
	ginkgo.GinkgoHelper()
	client := quick(bed)
	for _, pod := range pods {
		_, err := client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	}
}

func remove(ctx context.Context, bed *testbed.Testbed, names ...string) {
	ginkgo.GinkgoHelper()
	for _, name := range names {
		gomega.Expect(quick(bed).CoreV1().Pods(testbed.VMNamespace).Delete(ctx, name, metav1.DeleteOptions{})).To(gomega.Succeed())
	}
}

// podsOf lists the VMs' pods.
func podsOf(ctx context.Context, bed *testbed.Testbed) ([]corev1.Pod, error) {
	list, err := quick(bed).CoreV1().Pods(testbed.VMNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// census counts the VMs' pods by phase; those bound and not admitted yet are "Bound".
func census(pods []corev1.Pod) map[string]int {
	count := map[string]int{}
	for i := range pods {
		phase := string(pods[i].Status.Phase)
		if phase == string(corev1.PodPending) && pods[i].Spec.NodeName != "" {
			phase = "Bound"
		}
		count[phase]++
	}
	return count
}

// eventuallyRunning waits until the pods run, each on one of the nodes if any are named.
func eventuallyRunning(ctx context.Context, bed *testbed.Testbed, names []string, nodes ...string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		for _, name := range names {
			pod, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).Get(ctx, name, metav1.GetOptions{})
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(string(pod.Status.Phase)).To(gomega.Equal("Running"), "%s: %v", name, pod.Status.Conditions)
			if len(nodes) > 0 {
				g.Expect(nodes).To(gomega.ContainElement(pod.Spec.NodeName), name)
			}
		}
	}).WithTimeout(deadline).Should(gomega.Succeed())
}

// described is what kubectl describe tells of a pod's events, once want is in it.
func described(ctx context.Context, bed *testbed.Testbed, pod string, wants ...string) string {
	ginkgo.GinkgoHelper()
	var events string
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		output, err := bed.Kubectl(ctx, "describe", "pod", "--namespace="+testbed.VMNamespace, pod)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		_, events, _ = strings.Cut(string(output), "Events:")
		for _, want := range wants {
			g.Expect(events).To(gomega.ContainSubstring(want))
		}
	}).WithTimeout(deadline).Should(gomega.Succeed())
	return events
}

// comeAlone makes pods on a node one after the other. With the report that has the first, all doubt about pods that nobody has
// seen ends. So the others are compared with their predictions.
func comeAlone(ctx context.Context, bed *testbed.Testbed, node string, pods ...*corev1.Pod) {
	ginkgo.GinkgoHelper()
	for _, pod := range pods {
		create(ctx, bed, pod)
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			made, err := quick(bed).CoreV1().Pods(testbed.VMNamespace).Get(ctx, pod.Name, metav1.GetOptions{})
			g.Expect(err).NotTo(gomega.HaveOccurred())
			report, err := bed.Report(ctx, node)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(report.Status.Granted).To(gomega.ContainElement(gomega.HaveField("PodUID", made.UID)))
		}).WithTimeout(deadline).Should(gomega.Succeed())
	}
}

// neverMispredicted asserts that no scheduler has seen a kubelet decide otherwise than predicted. It reads each
// scheduler's log, which covers its restarts. It also asserts that the running ones have compared predictions at
// all, and reports how many.
func neverMispredicted(ctx context.Context, bed *testbed.Testbed, schedulers ...*process.Process) {
	ginkgo.GinkgoHelper()
	for _, scheduler := range schedulers {
		log, err := os.ReadFile(scheduler.LogFile())
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		for line := range strings.Lines(string(log)) {
			gomega.Expect(line).NotTo(gomega.ContainSubstring("the kubelet decided otherwise than predicted"))
		}
	}
	var compared map[string]int
	// A pod may run a moment before its node has reported what it got.
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		var err error
		compared, err = predictions(ctx, bed, schedulers)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(compared["match"]).To(gomega.BeNumerically(">", 0), "predictions compared: %v", compared)
	}).WithTimeout(deadline).Should(gomega.Succeed())
	gomega.Expect(compared["mismatch"]).To(gomega.BeZero(), "predictions compared: %v", compared)
	ginkgo.AddReportEntry("predictions compared", fmt.Sprintf("%d match, %d mismatch", compared["match"], compared["mismatch"]))
}

// predictions counts, by result, the predictions that the schedulers which run have compared with what a kubelet did.
func predictions(ctx context.Context, bed *testbed.Testbed, schedulers []*process.Process) (map[string]int, error) {
	running := slices.DeleteFunc(slices.Clone(schedulers), func(scheduler *process.Process) bool { return !scheduler.Running() })
	if len(running) == 0 {
		return nil, fmt.Errorf("none of %d schedulers runs; the log of one ends:\n%s", len(schedulers), schedulers[0].LogTail())
	}
	total := map[string]int{}
	for _, scheduler := range running {
		metrics, err := scrape(ctx, bed, scheduler)
		if err != nil {
			return nil, err
		}
		for _, match := range regexp.MustCompile(`(?m)^corepin_scheduler_predictions_total\{result="(\w+)"\} (\d+)$`).FindAllStringSubmatch(metrics, -1) {
			count, err := strconv.Atoi(match[2])
			if err != nil {
				return nil, err
			}
			total[match[1]] += count
		}
	}
	return total, nil
}

// scrape reads a scheduler's metrics as the admin.
func scrape(ctx context.Context, bed *testbed.Testbed, scheduler *process.Process) (string, error) {
	address, err := servedAt(scheduler)
	if err != nil {
		return "", err
	}
	config := rest.CopyConfig(bed.AdminConfig())
	config.Host = "https://" + address
	config.Insecure, config.CAData, config.CAFile = true, nil, "" // its certificate is of its own making
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	metrics, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("scraping %s: %w", scheduler.Name(), err)
	}
	return string(metrics), nil
}
