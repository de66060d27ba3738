// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/wakeup"
)

// refuse runs a scheduling cycle in which the node must refuse the pod.
func (b *fixture) refuse(t *testing.T, pod *corev1.Pod, info fwk.NodeInfo, reason string) {
	t.Helper()
	if err := b.podLister.Add(pod); err != nil {
		t.Fatal(err)
	}
	if got := b.Filter(t.Context(), b.preFilter(t, pod), pod, info).Message(); got != reason {
		t.Fatalf("%s: refused for %q, want %q", pod.Name, got, reason)
	}
}

// expectWoken checks which pods were activated since the last call.
func (b *fixture) expectWoken(t *testing.T, when string, want ...string) {
	t.Helper()
	got := b.queue.take()
	if !slices.Equal(got, want) {
		t.Errorf("%s: woke %v, want %v", when, got, want)
	}
}

func TestAReportWakesThePodsItHelps(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	full := map[string]string{"a": "0-3,8-11", "b": "4-7,12-15"}
	b.report(t, "n1", full)
	info := b.node(t, "n1", onNode(launcherPod("a", "8")), onNode(launcherPod("b", "8")))
	b.refuse(t, launcherPod("small", "2"), info, ReasonNoAlignment)
	b.refuse(t, launcherPod("large", "8"), info, ReasonNoAlignment)
	b.refuse(t, guaranteedPod("plain", "2"), info, ReasonNoAlignment)

	b.reportChanged("n1")
	b.expectWoken(t, "nothing is free")
	b.report(t, "n1", map[string]string{"a": "0-3,8-11", "b": "4-6,12-14"})
	b.reportChanged("n1")
	b.expectWoken(t, "a core is free", "vms/plain", "vms/small")
	b.report(t, "n1", map[string]string{"a": "0-3,8-11"})
	b.reportChanged("n1")
	b.expectWoken(t, "a NUMA node is free", "vms/large", "vms/plain", "vms/small")

	unlabelled := info.Node().DeepCopy()
	unlabelled.Labels = nil
	if err := b.nodeLister.Update(unlabelled); err != nil {
		t.Fatal(err)
	}
	b.reportChanged("n1")
	b.expectWoken(t, "the node is not for VMs", "vms/plain")
}

// A report wakes only those that its node lets in, whatever other nodes they were refused by: activation skips backoff.
func TestAReportWakesNobodyWhoCouldNotGoThere(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", map[string]string{"a": "0-7,8-15"})
	info := b.node(t, "n1", launcherPod("a", "16"))
	b.refuse(t, launcherPod("anywhere", "2"), info, ReasonNoAlignment)
	b.refuse(t, launcherPod("zone", "2", func(pod *corev1.Pod) { pod.Spec.NodeSelector["zone"] = "a" }), info, ReasonNoAlignment)
	b.refuse(t, launcherPod("tolerant", "2", func(pod *corev1.Pod) {
		pod.Spec.Tolerations = []corev1.Toleration{{Key: "maintenance", Operator: corev1.TolerationOpExists}}
	}), info, ReasonNoAlignment)

	b.report(t, "n1", map[string]string{"a": "0-5,8-13"})
	b.reportChanged("n1")
	b.expectWoken(t, "a node of no zone", "vms/anywhere", "vms/tolerant")
	tainted := info.Node().DeepCopy()
	tainted.Labels["zone"] = "a"
	tainted.Spec.Taints = []corev1.Taint{{Key: "maintenance", Effect: corev1.TaintEffectNoSchedule}}
	if err := b.nodeLister.Update(tainted); err != nil {
		t.Fatal(err)
	}
	b.reportChanged("n1")
	b.expectWoken(t, "a tainted node", "vms/tolerant")
}

// A node that is too small for the memory or huge pages of a VM, even when empty, does not wake it. What other pods use is for
// the scheduling cycle to find. A missing GPU says nothing: it may come from a DRA driver.
func TestAReportOfANodeThatIsTooSmallWakesNobody(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", map[string]string{"a": "0-7,8-15"})
	info := b.node(t, "n1", launcherPod("a", "16"))
	b.refuse(t, launcherPod("small", "2"), info, ReasonNoAlignment)
	b.refuse(t, launcherPod("large", "2", asking(corev1.ResourceMemory, "64Gi")), info, ReasonNoAlignment)
	b.refuse(t, launcherPod("pages", "2", asking("hugepages-1Gi", "4Gi")), info, ReasonNoAlignment)
	gpu := launcherPod("gpu", "2", asking("example.com/gpu", "1"))
	b.pend(t, gpu, b.podDemand(gpu))

	set := func(memory, pages string) {
		node := info.Node().DeepCopy()
		node.Status.Allocatable[corev1.ResourceMemory], node.Status.Allocatable["hugepages-1Gi"] = resource.MustParse(memory), resource.MustParse(pages)
		if err := b.nodeLister.Update(node); err != nil {
			t.Fatal(err)
		}
	}
	set("32Gi", "2Gi")
	b.report(t, "n1", map[string]string{"a": "0-4,8-12"})
	b.reportChanged("n1")
	b.expectWoken(t, "a small node", "vms/gpu", "vms/small")
	set("128Gi", "4Gi")
	b.reportChanged("n1")
	b.expectWoken(t, "a large node", "vms/gpu", "vms/large", "vms/pages", "vms/small")
}

// What the guest needs of its CPUs is asked too: one free CPU in each of two cores is no place for two hardware threads.
func TestAReportWakesNoGuestThatItWouldSplit(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	loose := func(s *v1alpha1.NodeCPUStatus) { s.CPUManager.Options, s.TopologyManager.Policy = nil, "none" }
	b.report(t, "n1", map[string]string{"a": "0-7,8-15"}, loose)
	b.node(t, "n1", launcherPod("a", "16"))
	pod := launcherPod("pair", "2")
	d := b.podDemand(pod)
	d.Guest = &placement.Guest{VCPUs: 2, ThreadsPerCore: 2}
	d.Compute = "compute"
	b.pend(t, pod, d)
	b.report(t, "n1", map[string]string{"a": "0-5,8-14"}, loose)
	b.reportChanged("n1")
	b.expectWoken(t, "a whole core is free", "vms/pair")
	b.report(t, "n1", map[string]string{"a": "0-5,8-13", "b": "6,15"}, loose)
	b.reportChanged("n1")
	b.expectWoken(t, "two halves are free")
}

func TestAReportWakesThePodsThatWaitedForIt(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", map[string]string{"a": "0-3,8-11"})
	b.report(t, "n2", map[string]string{"c": "0-3,8-11"})
	info := b.node(t, "n1", launcherPod("a", "8"), onNode(launcherPod("b", "8")))
	b.node(t, "n2")
	b.refuse(t, launcherPod("new", "8"), info, ReasonInFlight)
	b.report(t, "n1", map[string]string{"a": "0-3,8-11", "b": "4-7,12-15"})
	b.reportChanged("n1")
	b.expectWoken(t, "the node is full, which preemption has to know", "vms/new")
	b.report(t, "n2", map[string]string{"c": "0-3,8-11", "d": "4,12"})
	b.reportChanged("n2")
	b.expectWoken(t, "another node's report")
}

// manyWait has 30 pods wait for node n1, on which a report then makes room for two of them. The last one is important.
func manyWait(t *testing.T) *fixture {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", map[string]string{"a": "0-7,8-15"})
	info := b.node(t, "n1", launcherPod("a", "16"))
	important, start := int32(1000), time.Now()
	for i := range 30 {
		b.refuse(t, launcherPod(fmt.Sprintf("vm-%02d", i), "4", func(pod *corev1.Pod) {
			pod.CreationTimestamp = metav1.NewTime(start.Add(time.Duration(i) * time.Second))
			if i == 29 {
				pod.Spec.Priority = &important
			}
		}), info, ReasonNoAlignment)
	}
	b.report(t, "n1", map[string]string{"a": "0-3,8-11"})
	b.reportChanged("n1")
	return b
}

// quiet checks that nobody is woken any more.
func (b *fixture) quiet(t *testing.T) {
	t.Helper()
	<-time.After(time.Hour)
	synctest.Wait()
	b.expectWoken(t, "an hour later")
}

// Where many wait for one place others than the first are tried only while it is not taken.
func TestAReportWakesAllForWhomThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := manyWait(t)
		if got := b.queue.names(); !slices.Contains(got, "vms/vm-29") || !slices.Contains(got, "vms/vm-00") {
			t.Errorf("woke %v first", got)
		}
		for round, want := range []int{2, 8, 20, 0} {
			synctest.Wait()
			if got := b.queue.take(); len(got) != want {
				t.Errorf("round %d: woke %v, want %d", round, got, want)
			}
			<-time.After(wakeup.RoundPause)
		}
		b.quiet(t)
	})
}

func TestAReportWakesNoMoreThanItHasRoomFor(t *testing.T) {
	for name, test := range map[string]struct {
		then func(t *testing.T, b *fixture)
		want []string
	}{
		"they are admitted": {func(t *testing.T, b *fixture) {
			b.report(t, "n1", map[string]string{"a": "0-3,8-11", "vm-00": "4-5,12-13", "vm-29": "6-7,14-15"})
			b.reportChanged("n1")
		}, nil},
		"one is not bound in the end": {func(_ *testing.T, b *fixture) { b.view.Left("n1", launcherPod("vm-00", "4")) }, []string{"vms/vm-01"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := manyWait(t)
			b.expectWoken(t, "two fit", "vms/vm-00", "vms/vm-29")
			for _, name := range []string{"vm-00", "vm-29"} {
				d := b.podDemand(launcherPod(name, "4"))
				b.waker.Remove(types.UID(name))
				b.view.Assumed("n1", launcherPod(name, "4"), &d.Pod)
			}
			<-time.After(time.Minute)
			synctest.Wait()
			b.expectWoken(t, "they are expected")
			test.then(t, b)
			for end := time.Now().Add(wakeup.MaxPause); len(b.queue.names()) == 0 && time.Now().Before(end); synctest.Wait() {
				<-time.After(wakeup.RoundPause / 2)
			}
			b.expectWoken(t, name, test.want...)
			for i := range 30 {
				b.waker.Remove(types.UID(fmt.Sprintf("vm-%02d", i)))
			}
			b.quiet(t)
		})
	}
}

// A report that comes between two rounds starts new ones.
func TestANewReportStartsNewRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(config.DedicatedCPUArgs{})
		b.report(t, "n1", map[string]string{"a": "0-7,8-15"})
		info := b.node(t, "n1", launcherPod("a", "16"))
		for _, name := range []string{"vm-1", "vm-2", "vm-3"} {
			b.refuse(t, launcherPod(name, "2"), info, ReasonNoAlignment)
		}
		b.report(t, "n1", map[string]string{"a": "0-6,8-14"})
		b.reportChanged("n1")
		b.expectWoken(t, "one core is free", "vms/vm-1")
		b.report(t, "n1", map[string]string{"a": "0-6,8-14", "vm-1": "7,15"})
		b.reportChanged("n1")
		<-time.After(10 * wakeup.RoundPause)
		synctest.Wait()
		b.expectWoken(t, "it is taken")
	})
}

// What a report does not wake for what the Node says, it is for the change of the Node to wake.
func TestANodeThatLetsAPodInWakesIt(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", map[string]string{"a": "0-5,8-13"})
	ready := b.node(t, "n1", launcherPod("a", "12")).Node()
	starting, small := ready.DeepCopy(), ready.DeepCopy()
	starting.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}
	small.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("16"), corev1.ResourceMemory: resource.MustParse("1Ki")}
	for name, test := range map[string]struct {
		before, after *corev1.Node
		cpus          string
		want          fwk.QueueingHint
	}{
		"its taint goes":              {starting, ready, "4", fwk.Queue},
		"it has more memory":          {small, ready, "4", fwk.Queue},
		"its taint comes":             {ready, starting, "4", fwk.QueueSkip},
		"its CPUs would still not do": {starting, ready, "8", fwk.QueueSkip},
		"nothing it says kept it out": {ready, ready, "4", fwk.QueueSkip},
		"something else keeps it out": {starting, small, "4", fwk.QueueSkip},
	} {
		if got, err := b.afterNodeChange(logger(t), launcherPod("vm", test.cpus), test.before, test.after); got != test.want || err != nil {
			t.Errorf("%s: %s, error %v, want %s", name, got, err, test.want)
		}
	}
}

// evict is a copy of a node without a pod, and that pod as preemption passes it to the plugin.
func evict(t *testing.T, info *framework.NodeInfo, victim *corev1.Pod) (*framework.NodeInfo, *framework.PodInfo) {
	t.Helper()
	without := info.SnapshotConcrete()
	if err := without.RemovePod(logger(t), victim); err != nil {
		t.Fatal(err)
	}
	evicted, err := framework.NewPodInfo(victim)
	if err != nil {
		t.Fatal(err)
	}
	return without, evicted
}

// A VM may be too young to evict others while a node has yet to report. It is tried again when it is old enough, with or
// without a report, unless it has been bound since.
func TestAPodIsTriedAgainWhenItMayEvict(t *testing.T) {
	for name, bound := range map[string]bool{"still waits": false, "bound meanwhile": true} {
		synctest.Test(t, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{})
			b.report(t, "n1", map[string]string{"a": "0-7,8-15"})
			victim := onNode(launcherPod("a", "16"))
			info := b.node(t, "n1", victim)
			pod := launcherPod("vm", "2", func(pod *corev1.Pod) { pod.CreationTimestamp = metav1.Now() })
			if err := b.podLister.Add(pod); err != nil {
				t.Fatal(err)
			}
			state := b.preFilter(t, pod)
			b.Filter(t.Context(), state, pod, info)
			readCycle(state).held.Store(true)
			without, evicted := evict(t, info, victim)
			for range 3 { // nodes and victims
				simulated := state.Clone()
				b.RemovePod(t.Context(), simulated, pod, evicted, without)
				if got := b.Filter(t.Context(), simulated, pod, without).Message(); got != ReasonInFlight {
					t.Fatalf("eviction is refused for %q", got)
				}
			}
			if bound {
				b.PostBind(t.Context(), state, pod, "n1")
			}
			<-time.After(reportsInTime - time.Second)
			synctest.Wait()
			b.expectWoken(t, name+", too young")
			<-time.After(time.Second)
			synctest.Wait()
			want := []string{"vms/vm"}
			if bound {
				want = nil
			}
			b.expectWoken(t, name+", old enough", want...)
		})
	}
}

// kube-scheduler may miss the end of the victims, so a pod that may evict is tried again in any case, a VM or not.
func TestAPodThatMayEvictIsTriedAgain(t *testing.T) {
	for name, pod := range map[string]*corev1.Pod{"a VM": launcherPod("vm", "2"), "another pod": guaranteedPod("vm", "2")} {
		synctest.Test(t, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{})
			b.report(t, "n1", map[string]string{"a": "0-7,8-15"})
			victim := onNode(launcherPod("a", "16"))
			info := b.node(t, "n1", victim)
			if err := b.podLister.Add(pod); err != nil {
				t.Fatal(err)
			}
			state := b.preFilter(t, pod)
			b.Filter(t.Context(), state, pod, info)
			without, evicted := evict(t, info, victim)
			simulated := state.Clone()
			b.RemovePod(t.Context(), simulated, pod, evicted, without)
			if status := b.Filter(t.Context(), simulated, pod, without); !status.IsSuccess() {
				t.Fatalf("%s: eviction is refused: %s", name, status.Message())
			}
			<-time.After(evictedRetry - time.Second)
			synctest.Wait()
			b.expectWoken(t, name+", while the victims end")
			<-time.After(time.Second)
			synctest.Wait()
			b.expectWoken(t, name+", later", "vms/vm")
		})
	}
}

// If the kubelet refuses a pod in flight, no report changes. The pods that the node held back because of it are
// woken by its end. That holds for a full node too, since preemption can look at it now.
func TestTheEndOfAPodInFlightWakesThePodsThatWaitedForIt(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	for _, node := range []string{"n1", "n2"} {
		b.report(t, node, map[string]string{"a": "0-7,8-15"})
		b.node(t, node)
	}
	pod := launcherPod("new", "8")
	d := b.podDemand(pod)
	b.pend(t, pod, d, "n1")
	for node, want := range map[string]fwk.QueueingHint{"n1": fwk.Queue, "n2": fwk.QueueSkip} {
		if got, err := b.afterPodDelete(logger(t), pod, onNode(guaranteedPod("gone", "2"), node), nil); got != want || err != nil {
			t.Errorf("a pod leaves %s: %s, error %v, want %s", node, got, err, want)
		}
	}
}

func TestPodsStopWaiting(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", nil)
	info := b.node(t, "n1")
	pods := map[string]*corev1.Pod{}
	for _, name := range []string{"bound", "elsewhere", "deleted", "lost", "stays"} {
		pods[name] = launcherPod(name, "10")
		b.refuse(t, pods[name], info, ReasonNeverAligned)
	}
	b.PostBind(t.Context(), b.preFilter(t, pods["bound"]), pods["bound"], "n1")
	handler := b.podEvents()
	handler.OnUpdate(pods["elsewhere"], onNode(pods["elsewhere"].DeepCopy())) // by the scheduler that leads
	handler.OnUpdate(pods["stays"], pods["stays"].DeepCopy())
	handler.OnDelete(pods["deleted"])
	handler.OnDelete(cache.DeletedFinalStateUnknown{Key: "vms/lost", Obj: pods["lost"]})
	// Deleted, and made again under its name, while it was being scheduled.
	again := launcherPod("early", "10", func(pod *corev1.Pod) { pod.UID = "again" })
	if err := b.podLister.Add(again); err != nil {
		t.Fatal(err)
	}
	early := launcherPod("early", "10")
	b.Filter(t.Context(), b.preFilter(t, early), early, info)
	never := launcherPod("never", "10")
	b.Filter(t.Context(), b.preFilter(t, never), never, info)
	b.wakeAll()
	b.expectWoken(t, "the reports are listed", "vms/stays")
	b.preFilter(t, pods["stays"])
	b.wakeAll()
	b.expectWoken(t, "a new cycle in which other plugins have refused the nodes so far")
}

func TestEstimatedNodesWakeToo(t *testing.T) {
	for policy, want := range map[config.UnknownNodePolicy][]string{config.Refuse: nil, config.Estimate: {"vms/new"}} {
		b := newFixture(config.DedicatedCPUArgs{NodesWithoutExactReport: policy})
		b.report(t, "n1", nil)
		info := b.node(t, "n1")
		b.refuse(t, launcherPod("new", "10"), info, ReasonNeverAligned)
		b.view.Delete("n1")
		b.reportChanged("n1")
		b.expectWoken(t, "reports are still being listed")
		b.report(t, "n1", map[string]string{"torn": "0-15"}, func(s *v1alpha1.NodeCPUStatus) { s.SharedCPUs = "x" })
		b.reportChanged("n1")
		b.expectWoken(t, string(policy), want...)
	}
}

// A node that is not exact is one of many in a cluster whose kubelets cannot be predicted. Its report wakes no more pods than
// have room by count, and none if it is full.
func TestAReportThatIsNotExactWakesFew(t *testing.T) {
	for free, want := range map[string]int{"": 0, "7,15": 1, "6-7,14-15": 2} {
		synctest.Test(t, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{})
			cpus, err := cpuset.Parse(free)
			if err != nil {
				t.Fatal(err)
			}
			held := cputopology.MustParse(twoNUMA).CPUs().Minus(cpus)
			b.report(t, "n1", map[string]string{"a": held.String()}, func(s *v1alpha1.NodeCPUStatus) { s.Conditions = nil })
			b.node(t, "n1", launcherPod("a", fmt.Sprint(held.Len())))
			for i := range 100 {
				pod := launcherPod(fmt.Sprint("vm-", i), "2")
				b.pend(t, pod, b.podDemand(pod))
			}
			b.reportChanged("n1")
			if got := len(b.queue.names()); got != want {
				t.Errorf("with CPUs %q free %d pods are woken, want %d", free, got, want)
			}
			<-time.After(time.Second)
			synctest.Wait()
			if got := len(b.queue.names()); got > 3*want {
				t.Errorf("with CPUs %q free %d pods are woken within a second, want at most %d", free, got, 3*want)
			}
		})
	}
}

// asking makes the first container ask for so much of a resource.
func asking(name corev1.ResourceName, amount string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		r := &pod.Spec.Containers[0].Resources
		r.Requests[name], r.Limits[name] = resource.MustParse(amount), resource.MustParse(amount)
	}
}
