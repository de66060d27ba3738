// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"corepin.dev/corepin/test/harness/testbed"
)

// Jobs of whole CPUs come and go ten times a second beside VMs, DaemonSets' pods and pods that no scheduler has placed. How many
// are refused and how long they wait is measured, with another scheduler for all but the VMs, and with one process for all.
var _ = ginkgo.Describe("VMs beside jobs that come and go", ginkgo.Ordered, func() {
	const nodes = 3
	var bed *testbed.Testbed
	ginkgo.BeforeAll(func(ctx context.Context) {
		var machines []testbed.Machine
		for i := range nodes {
			machines = append(machines, alignedMachine(fmt.Sprintf("b%d", i), "2 sockets x 1 numa x 16 cores x 2 threads", "0,32"))
		}
		bed = startTestbed(ctx, machines)
	})
	ginkgo.It("of another scheduler", func(ctx context.Context) {
		stock, err := bed.RunScheduler(ctx, "stock-beside", func(config map[string]any) {
			config["leaderElection"] = map[string]any{"leaderElect": false}
			config["profiles"] = []any{map[string]any{"schedulerName": corev1.DefaultSchedulerName}}
		})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		f := bustle(ctx, bed, nodes)
		ginkgo.AddReportEntry("two schedulers", f.String())
		gomega.Expect(f.of("vm").bound).To(gomega.Equal(75))
		gomega.Expect(f.of("job").bound).To(gomega.Equal(300))
		gomega.Expect(stock.Stop()).To(gomega.Succeed())
		gomega.Expect(bed.Scheduler.Stop()).To(gomega.Succeed())
	})
	ginkgo.It("of the same process, and nobody is refused", func(ctx context.Context) {
		single, err := runSingleProcess(ctx, bed, "single-beside")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		f := bustle(ctx, bed, nodes)
		ginkgo.AddReportEntry("one process", f.String())
		for _, kind := range kindsOfPods {
			gomega.Expect(f.of(kind).refused).To(gomega.BeZero(), "%s: %s", kind, f)
		}
		gomega.Expect(f.of("vm").bound).To(gomega.Equal(75))
		gomega.Expect(f.of("job").bound).To(gomega.Equal(300))
		neverMispredicted(ctx, bed, single)
	})
})

// The kinds of pods, by the beginning of their names: VMs, jobs, a DaemonSet's, and those made with a node, as static pods are.
var kindsOfPods = []string{"vm", "job", "daemon", "placed"}

// bustle makes pods of all kinds for half a minute, waits until all are bound, and removes them.
func bustle(ctx context.Context, bed *testbed.Testbed, nodes int) *fates {
	ginkgo.GinkgoHelper()
	const (
		beats   = 300
		beat    = 100 * time.Millisecond
		jobLife = 15 // in beats, or until it is bound if that takes longer
		vmLife  = 60
	)
	f := followPods(ctx, bed)
	plain := func(pod *corev1.Pod) {
		pod.Spec.SchedulerName = corev1.DefaultSchedulerName
		pod.Spec.NodeSelector = nil
		pod.Labels = nil
	}
	for i := range nodes {
		create(ctx, bed, launcherPod(fmt.Sprintf("placed-%d", i), 2, alone, plain, func(pod *corev1.Pod) { pod.Spec.NodeName = fmt.Sprintf("b%d", i) }))
	}
	ends := map[int][]string{}
	ticks := time.NewTicker(beat)
	defer ticks.Stop()
	for i := range beats {
		<-ticks.C
		job := fmt.Sprintf("job-%03d", i)
		f.made(job)
		create(ctx, bed, launcherPod(job, 2+2*(i%2), alone, plain))
		ends[i+jobLife] = append(ends[i+jobLife], job)
		if i%4 == 0 {
			vm := fmt.Sprintf("vm-%03d", i)
			f.made(vm)
			create(ctx, bed, launcherPod(vm, []int{2, 4, 6, 8}[i/4%4]))
			ends[i+vmLife] = append(ends[i+vmLife], vm)
		}
		if i == beats/2 {
			for n := range nodes {
				name := fmt.Sprintf("daemon-%d", n)
				f.made(name)
				create(ctx, bed, launcherPod(name, 2, alone, plain, onNodeOnly(fmt.Sprintf("b%d", n))))
			}
		}
		for _, name := range ends[i] {
			if f.isBound(name) {
				remove(ctx, bed, name)
			} else {
				ends[i+1] = append(ends[i+1], name)
			}
		}
	}
	gomega.Eventually(ctx, f.unbound).WithTimeout(deadline).Should(gomega.BeEmpty())
	gomega.Expect(bed.Client().CoreV1().Pods(testbed.VMNamespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})).To(gomega.Succeed())
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		pods, err := podsOf(ctx, bed)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(pods).To(gomega.BeEmpty())
	}).WithTimeout(deadline).Should(gomega.Succeed())
	return f
}

// onNodeOnly is the affinity that the DaemonSet controller writes (util.ReplaceDaemonSetPodNodeNameNodeAffinity, v1.36.3).
func onNodeOnly(node string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
			}}},
		}}}
	}
}

// fates is what becomes of pods, as a watch shows it.
type fates struct {
	mu   sync.Mutex
	pods map[string]*fate
}

type fate struct {
	made, bound time.Time // zero while it has not happened
	refused     string    // the kubelet's reason
}

// followPods watches the pods until the spec ends.
func followPods(ctx context.Context, bed *testbed.Testbed) *fates {
	ginkgo.GinkgoHelper()
	f := &fates{pods: map[string]*fate{}}
	events, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).Watch(ctx, metav1.ListOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ginkgo.DeferCleanup(events.Stop)
	go func() {
		for event := range events.ResultChan() {
			pod, isPod := event.Object.(*corev1.Pod)
			if isPod && event.Type != watch.Deleted {
				f.saw(pod, time.Now())
			}
		}
	}()
	return f
}

func (f *fates) at(name string) *fate {
	if f.pods[name] == nil {
		f.pods[name] = &fate{}
	}
	return f.pods[name]
}

func (f *fates) made(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at(name).made = time.Now()
}

func (f *fates) saw(pod *corev1.Pod, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.at(pod.Name)
	if pod.Spec.NodeName != "" && seen.bound.IsZero() {
		seen.bound = now
	}
	if pod.Status.Phase == corev1.PodFailed {
		seen.refused = pod.Status.Reason
	}
}

func (f *fates) isBound(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.at(name).bound.IsZero()
}

// unbound names the pods that no scheduler has bound.
func (f *fates) unbound() (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, seen := range f.pods {
		if seen.bound.IsZero() {
			names = append(names, name)
		}
	}
	return names
}

// sums counts the pods of one kind.
type sums struct {
	bound, refused int
	waits          []time.Duration // of those that were bound, shortest first
}

func (f *fates) of(kind string) (s sums) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, seen := range f.pods {
		switch {
		case !strings.HasPrefix(name, kind+"-"):
			continue
		case seen.bound.IsZero():
			continue
		case seen.refused != "":
			s.refused++
		}
		s.bound++
		if !seen.made.IsZero() {
			s.waits = append(s.waits, seen.bound.Sub(seen.made))
		}
	}
	slices.Sort(s.waits)
	return s
}

func (f *fates) String() string {
	var text strings.Builder
	for _, kind := range kindsOfPods {
		s := f.of(kind)
		fmt.Fprintf(&text, "%s: %d bound, %d of them refused", kind, s.bound, s.refused)
		n := len(s.waits)
		if n > 0 {
			fmt.Fprintf(&text, "; waited %s in the median, %s at the 99th percentile", s.waits[n/2].Round(time.Millisecond), s.waits[n*99/100].Round(time.Millisecond))
		}
		text.WriteString("\n")
	}
	return text.String()
}
