// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/line"
	"corepin.dev/corepin/test/harness/testbed"
)

// Times of these specs, in place of the shipped ones: 15 s, 5 s, 20 s and 10 s, 50 s.
const (
	silentAfter = 3 * time.Second
	probePeriod = time.Second
	pingIdle    = 2
	pingTimeout = 1
	nodeGrace   = 12 * time.Second
)

// A node that says nothing more is seen, whatever the cause, and so is a scheduler that does not come.
var _ = ginkgo.Describe("silence", ginkgo.Ordered, func() {
	var (
		bed *testbed.Testbed
		way *line.Line
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		way = &line.Line{}
		live := alignedMachine("live", "1 sockets x 1 numa x 8 cores x 2 threads", "0,8")
		mute := alignedMachine("mute", "1 sockets x 1 numa x 8 cores x 2 threads", "0,8")
		bed = startTestbedWith(ctx, testbed.Options{
			Machines: []testbed.Machine{live, mute}, ProbePeriod: probePeriod,
			AgentEnv:       []string{fmt.Sprintf("HTTP2_READ_IDLE_TIMEOUT_SECONDS=%d", pingIdle), fmt.Sprintf("HTTP2_PING_TIMEOUT_SECONDS=%d", pingTimeout)},
			SchedulerArgs:  map[string]any{"silentAfter": silentAfter.String()},
			ControllerArgs: []string{"--node-monitor-grace-period=" + nodeGrace.String(), "--node-monitor-period=1s"},
			AgentRoute: func(node, kubeconfig string) (string, error) {
				if node != "mute" {
					return kubeconfig, nil
				}
				return way.Route(kubeconfig)
			},
		})
		ginkgo.DeferCleanup(way.Close)
		gomega.Expect(bed.Apply(ctx, []byte(viewer))).To(gomega.Succeed())
		for _, node := range []string{"live", "mute"} {
			eventuallySeen(ctx, bed, node, metav1.ConditionTrue)
		}
		create(ctx, bed, launcherPod("old", 2, on("mute"), runs("old")))
		eventuallyRunning(ctx, bed, []string{"old"}, "mute")
	})

	faults := 0
	fault := func(name string, within time.Duration, strike, mend func(ctx context.Context) error) {
		ginkgo.It(name+" is seen in time, and its end", func(ctx context.Context) {
			began := time.Now()
			gomega.Expect(strike(ctx)).To(gomega.Succeed())
			eventuallySeen(ctx, bed, "mute", metav1.ConditionFalse)
			took := time.Since(began)
			ginkgo.AddReportEntry(name, fmt.Sprintf("%s: seen after %s", name, took.Round(100*time.Millisecond)))
			gomega.Expect(took).To(gomega.BeNumerically("<=", within))

			// VMs go elsewhere while there is room, and nobody speaks for the node.
			faults++
			vm := fmt.Sprintf("new-%d", faults)
			create(ctx, bed, launcherPod(vm, 2, runs(vm)))
			eventuallyRunning(ctx, bed, []string{vm}, "live")
			out, err := bed.Kubectl(ctx, "get", "nodecpus")
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			gomega.Expect(string(out)).To(gomega.MatchRegexp(`(?m)^NAME .* SEEN .*$(?s:.*)^live .* True .*$(?s:.*)^mute .* False `))
			said, _ := corepin(ctx, bed, "corepin-explainer", "", "pins")
			gomega.Expect(said).To(gomega.MatchRegexp(`node mute is not heard from since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`))
			gomega.Eventually(ctx, func() (string, error) { return eventsOn(ctx, bed, "mute") }).WithTimeout(deadline).Should(gomega.ContainSubstring("NodeNotHeard"))
			remove(ctx, bed, vm)

			gomega.Expect(mend(ctx)).To(gomega.Succeed())
			eventuallySeen(ctx, bed, "mute", metav1.ConditionTrue)
			said, _ = corepin(ctx, bed, "corepin-explainer", "", "pins")
			gomega.Expect(said).NotTo(gomega.ContainSubstring("not heard"))
		})
	}
	const slack = 8 * time.Second // two cores, and the rest of the suite on them
	agent := func() interface {
		Kill() error
		Restart() error
		PID() int
	} {
		return bed.Nodes["mute"].Agent
	}
	fault("a killed agent", silentAfter+2*probePeriod+slack,
		func(context.Context) error { return agent().Kill() },
		func(context.Context) error { return agent().Restart() })
	fault("a hung agent", silentAfter+3*probePeriod+slack,
		func(context.Context) error { return syscall.Kill(agent().PID(), syscall.SIGSTOP) },
		func(context.Context) error { return syscall.Kill(agent().PID(), syscall.SIGCONT) })
	fault("an agent that cannot reach the API server", silentAfter+3*probePeriod+(pingIdle+pingTimeout+3)*time.Second+slack,
		func(context.Context) error { way.Cut(true); return nil },
		func(context.Context) error { way.Cut(false); return nil })
	fault("a node that is cut off", silentAfter+nodeGrace+2*time.Second+slack,
		func(context.Context) error { return bed.Nodes["mute"].Sim.Kill() },
		func(context.Context) error { return bed.Nodes["mute"].Sim.Restart() })

	ginkgo.It("a VM goes to a silent node rather than wait for its report", func(ctx context.Context) {
		create(ctx, bed, launcherPod("fills", 12, on("live"), runs("fills")))
		eventuallyRunning(ctx, bed, []string{"fills"}, "live")
		gomega.Expect(agent().Kill()).To(gomega.Succeed())
		eventuallySeen(ctx, bed, "mute", metav1.ConditionFalse)
		create(ctx, bed, launcherPod("first", 2, runs("first")))
		eventuallyRunning(ctx, bed, []string{"first"}, "mute")
		remove(ctx, bed, "first")
		create(ctx, bed, launcherPod("second", 2, runs("second")))
		eventuallyRunning(ctx, bed, []string{"second"}, "mute")
		said := described(ctx, bed, "second", "CPUsEstimated")
		gomega.Expect(said).To(gomega.ContainSubstring("not heard from since"))
		gomega.Expect(agent().Restart()).To(gomega.Succeed())
		eventuallySeen(ctx, bed, "mute", metav1.ConditionTrue)
		remove(ctx, bed, "second")
		remove(ctx, bed, "fills")
	})

	ginkgo.It("a scheduler that loses its Lease comes back, and that is said", func(ctx context.Context) {
		before := bed.Scheduler.PID()
		gomega.Expect(syscall.Kill(before, syscall.SIGSTOP)).To(gomega.Succeed())
		gomega.Eventually(ctx, func(g gomega.Gomega) { // its Lease runs out
			lease, err := bed.Client().CoordinationV1().Leases(testbed.SystemNamespace).Get(ctx, "corepin-scheduler", metav1.GetOptions{})
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(time.Since(lease.Spec.RenewTime.Time)).To(gomega.BeNumerically(">", 6*time.Second))
		}).WithTimeout(deadline).Should(gomega.Succeed())
		create(ctx, bed, launcherPod("waits", 2, runs("waits")))
		out, code := corepin(ctx, bed, "corepin-explainer", "", "explain", "pod", "waits", "--namespace", testbed.VMNamespace)
		ginkgo.AddReportEntry("explain without a leader", out)
		gomega.Expect(code).To(gomega.Equal(1))
		gomega.Expect(out).To(gomega.HavePrefix("Problem: no corepin-scheduler leads since 20"))
		giveBack := holdLease(ctx, bed)
		gomega.Expect(syscall.Kill(before, syscall.SIGCONT)).To(gomega.Succeed())
		gomega.Eventually(ctx, bed.Restarts).WithTimeout(deadline).Should(gomega.ContainElement(gomega.ContainSubstring("corepin-scheduler ended by itself (exit status 1)")))
		gomega.Eventually(ctx, bed.Scheduler.PID).WithTimeout(deadline).ShouldNot(gomega.Equal(before))
		// It went on for three seconds, as client-go has it, and bound nothing: somebody else leads.
		pod, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).Get(ctx, "waits", metav1.GetOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(pod.Spec.NodeName).To(gomega.BeEmpty())
		giveBack()
		eventuallyRunning(ctx, bed, []string{"waits"})
		out, code = corepin(ctx, bed, "corepin-explainer", "", "explain", "pod", "waits", "--namespace", testbed.VMNamespace)
		gomega.Expect(out).NotTo(gomega.ContainSubstring("Problem"))
		gomega.Expect(code).To(gomega.Equal(0))
	})
})

// holdLease makes somebody else the holder of the scheduler's Lease, who renews it until giveBack is called.
func holdLease(ctx context.Context, bed *testbed.Testbed) (giveBack func()) {
	ginkgo.GinkgoHelper()
	leases := bed.Client().CoordinationV1().Leases(testbed.SystemNamespace)
	hold := func() error {
		body := fmt.Appendf(nil, `{"spec":{"holderIdentity":"somebody else","renewTime":%q}}`, time.Now().UTC().Format(metav1.RFC3339Micro))
		_, err := leases.Patch(ctx, "corepin-scheduler", types.MergePatchType, body, metav1.PatchOptions{})
		return err
	}
	gomega.Expect(hold()).To(gomega.Succeed())
	holding, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer ginkgo.GinkgoRecover()
		wait.UntilWithContext(holding, func(context.Context) { gomega.Expect(hold()).To(gomega.Succeed()) }, 500*time.Millisecond)
	}()
	return func() {
		stop()
		<-ended
	}
}

// eventuallySeen waits until condition Seen of a node's report has a status.
func eventuallySeen(ctx context.Context, bed *testbed.Testbed, node string, want metav1.ConditionStatus) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		report, err := bed.Report(ctx, node)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		seen := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionSeen)
		g.Expect(seen).NotTo(gomega.BeNil())
		g.Expect(seen.Status).To(gomega.Equal(want), seen.Message)
	}).WithTimeout(deadline).WithPolling(100 * time.Millisecond).Should(gomega.Succeed())
}

// eventsOn gives the reasons of the events on a Node.
func eventsOn(ctx context.Context, bed *testbed.Testbed, node string) (string, error) {
	events, err := bed.Client().EventsV1().Events(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	var reasons []string
	for _, event := range events.Items {
		if event.Regarding.Kind == "Node" && event.Regarding.Name == node {
			reasons = append(reasons, event.Reason+": "+event.Note)
		}
	}
	return strings.Join(reasons, "\n"), nil
}
