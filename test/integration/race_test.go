// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/testbed"
)

// Two schedulers do not see what the other is about to do. How often that ends in a refusal is measured here;
// that it never does where one process serves both profiles is held.
var _ = ginkgo.Describe("VMs and other pods with exclusive CPUs at the same time", ginkgo.Ordered, func() {
	const (
		nodes  = 3
		rounds = 4
		// So many VMs of 8 CPUs, and other pods of 6, come in a round: by count they would just fit.
		each = 12
	)
	var bed *testbed.Testbed
	var watched int // how many watches of reports the API server serves where the scheduler has one profile
	ginkgo.BeforeAll(func(ctx context.Context) {
		var machines []testbed.Machine
		for i := range nodes {
			machines = append(machines, alignedMachine(fmt.Sprintf("r%d", i), "2 sockets x 1 numa x 16 cores x 2 threads", "0,32"))
		}
		bed = startTestbed(ctx, machines)
	})
	// other makes a launcher pod an ordinary Guaranteed pod of the other profile.
	other := func(pod *corev1.Pod) {
		pod.Spec.SchedulerName, pod.Spec.NodeSelector = "default-scheduler", nil
		pod.Labels = map[string]string{"app": "other"}
	}
	rush := func(ctx context.Context) (total tally) {
		ginkgo.GinkgoHelper()
		for round := range rounds {
			var pods []*corev1.Pod
			for i := range each {
				pods = append(pods, launcherPod(fmt.Sprintf("vm-%d-%02d", round, i), 8), launcherPod(fmt.Sprintf("other-%d-%02d", round, i), 6, other))
			}
			create(ctx, bed, pods...)
			total.add(settled(ctx, bed))
			var names []string
			for _, pod := range pods {
				names = append(names, pod.Name)
			}
			remove(ctx, bed, names...)
			gomega.Eventually(ctx, func(g gomega.Gomega) {
				pods, err := podsOf(ctx, bed)
				g.Expect(err).NotTo(gomega.HaveOccurred())
				g.Expect(pods).To(gomega.BeEmpty())
				for i := range nodes {
					report, err := bed.Report(ctx, fmt.Sprintf("r%d", i))
					g.Expect(err).NotTo(gomega.HaveOccurred())
					g.Expect(report.Status.Granted).To(gomega.BeEmpty())
				}
			}).WithTimeout(deadline).Should(gomega.Succeed())
		}
		return total
	}

	ginkgo.It("with kube-scheduler beside it", func(ctx context.Context) {
		stock, err := bed.RunScheduler(ctx, "stock-scheduler", func(config map[string]any) {
			config["leaderElection"] = map[string]any{"leaderElect": false}
			config["profiles"] = []any{map[string]any{"schedulerName": "default-scheduler"}}
		})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		total := rush(ctx)
		ginkgo.AddReportEntry("two schedulers", total.String())
		gomega.Expect(total.bound).To(gomega.BeNumerically(">", 0))
		gomega.Expect(stock.Stop()).To(gomega.Succeed())
		watched, err = reportWatches(ctx, bed)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(watched).To(gomega.BeNumerically(">", 0))
		gomega.Expect(bed.Scheduler.Stop()).To(gomega.Succeed())
	})
	ginkgo.It("with one process for both profiles nobody is refused", func(ctx context.Context) {
		single, err := runSingleProcess(ctx, bed, "single-process")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		total := rush(ctx)
		ginkgo.AddReportEntry("one process", total.String())
		gomega.Expect(total.refusedVMs + total.refusedOthers).To(gomega.BeZero())
		gomega.Expect(total.bound).To(gomega.BeNumerically(">", 0))
		neverMispredicted(ctx, bed, single)
		gomega.Eventually(ctx, func() (int, error) { return reportWatches(ctx, bed) }).WithTimeout(deadline).Should(gomega.Equal(watched),
			"watches of reports, of which two profiles need no more than one")
	})
})

// reportWatch is where the API server says how many watches of reports it serves.
var reportWatch = regexp.MustCompile(`(?m)^apiserver_longrunning_requests\{[^}]*resource="nodecpus"[^}]*verb="WATCH"[^}]*\} (\d+)$`)

func reportWatches(ctx context.Context, bed *testbed.Testbed) (sum int, err error) {
	metrics, err := bed.Client().CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("scraping the API server: %w", err)
	}
	for _, match := range reportWatch.FindAllSubmatch(metrics, -1) {
		count, err := strconv.Atoi(string(match[1]))
		if err != nil {
			return 0, err
		}
		sum += count
	}
	return sum, nil
}

// tally is what became of pods.
type tally struct {
	bound, refusedVMs, refusedOthers, waiting int
	// together counts the VMs bound to a node in the same second as another scheduler's pod, and collided
	// those of them that were refused.
	together, collided int
}

func (t *tally) add(u tally) {
	t.bound += u.bound
	t.refusedVMs += u.refusedVMs
	t.refusedOthers += u.refusedOthers
	t.waiting += u.waiting
	t.together += u.together
	t.collided += u.collided
}

func (t tally) String() string {
	return fmt.Sprintf("%d pods bound, %d had no room; refused by their kubelets: %d VMs and %d other pods; of %d VMs bound to a node in the same second as another scheduler's pod, %d were refused",
		t.bound, t.waiting, t.refusedVMs, t.refusedOthers, t.together, t.collided)
}

// settled waits until nothing changes any more: each pod runs, is refused, or has been told that there is no room,
// and no kubelet has one to decide about.
func settled(ctx context.Context, bed *testbed.Testbed) tally {
	ginkgo.GinkgoHelper()
	var now tally
	quiet := 0
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		pods, err := podsOf(ctx, bed)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		count := census(pods)
		before := now
		now = tallyOf(pods)
		if now != before || count["Bound"] > 0 {
			quiet = 0
		}
		quiet++
		g.Expect(quiet).To(gomega.BeNumerically(">", 12), "still moving: %v", count)
	}).WithPolling(250 * time.Millisecond).WithTimeout(3 * deadline).Should(gomega.Succeed())
	return now
}

func tallyOf(pods []corev1.Pod) (t tally) {
	type moment struct {
		node string
		at   metav1.Time
	}
	others := map[moment]bool{}
	when := func(pod *corev1.Pod) (m moment) {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionTrue {
				m = moment{pod.Spec.NodeName, condition.LastTransitionTime}
			}
		}
		return m
	}
	for i := range pods {
		if pods[i].Spec.NodeName != "" && strings.HasPrefix(pods[i].Name, "other") {
			others[when(&pods[i])] = true
		}
	}
	for i := range pods {
		pod := &pods[i]
		vm, refused := strings.HasPrefix(pod.Name, "vm"), pod.Status.Phase == corev1.PodFailed
		switch {
		case pod.Spec.NodeName == "":
			t.waiting++
			continue
		case refused && vm:
			t.refusedVMs++
		case refused:
			t.refusedOthers++
		}
		t.bound++
		if vm && others[when(pod)] {
			t.together++
			if refused {
				t.collided++
			}
		}
	}
	return t
}

// overlayConfig is the scheduler's configuration as an overlay of the manifests ships it.
func overlayConfig(overlay string) map[string]any {
	ginkgo.GinkgoHelper()
	rendered, err := manifests.Build(manifests.FS, overlay)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	for _, document := range bytes.Split(rendered, []byte("\n---\n")) {
		object := &corev1.ConfigMap{}
		gomega.Expect(yaml.Unmarshal(document, object)).To(gomega.Succeed())
		if object.Kind == "ConfigMap" && strings.HasPrefix(object.Name, "corepin-scheduler-config-") {
			config := map[string]any{}
			gomega.Expect(yaml.UnmarshalStrict([]byte(object.Data["config.yaml"]), &config)).To(gomega.Succeed())
			return config
		}
	}
	ginkgo.Fail("overlay " + overlay + " ships no configuration of the scheduler")
	return nil
}

// runSingleProcess runs the scheduler of the overlay for both profiles. Nobody kills this leader: it has the shipped patience,
// with which a rush does not end it.
func runSingleProcess(ctx context.Context, bed *testbed.Testbed, name string) (*process.Process, error) {
	return bed.RunScheduler(ctx, name, func(config map[string]any) {
		client := config["clientConnection"]
		clear(config)
		maps.Copy(config, overlayConfig("overlays/single-process"))
		config["clientConnection"] = client
	})
}
