// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	testclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/explaining"
)

// snapshot is the nodes of a scheduling cycle.
type snapshot struct {
	fwk.SharedLister
	fwk.NodeInfoLister
	nodes []fwk.NodeInfo
}

func (s *snapshot) NodeInfos() fwk.NodeInfoLister       { return s }
func (s *snapshot) List() ([]fwk.NodeInfo, error)       { return s.nodes, nil }
func (s *snapshot) Get(string) (fwk.NodeInfo, error)    { panic("not asked") }
func (s *snapshot) add(info *framework.NodeInfo, c int) { s.nodes = append(s.nodes, withCPUs(info, c)) }

func withCPUs(info *framework.NodeInfo, cpus int) fwk.NodeInfo {
	node := info.Node().DeepCopy()
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(int64(cpus), resource.DecimalSI)}
	info.SetNode(node)
	return info
}

// notes is a recorder of events.
type notes struct{ actions, texts []string }

func (n *notes) Eventf(_, _ runtime.Object, _, reason, action, _ string, args ...any) {
	n.actions = append(n.actions, reason+" "+action)
	n.texts = append(n.texts, args[0].(string))
}

// explained is a fixture whose explainer records its events.
type explained struct {
	*fixture
	*snapshot
	*notes
	clock     *testclock.FakePassiveClock
	questions *questions
}

// questions holds what was asked until a test answers it.
type questions struct {
	*explaining.Explainer
	asked []explaining.Question
}

func (q *questions) Ask(question explaining.Question) { q.asked = append(q.asked, question) }

func newExplained() *explained {
	x := &explained{
		fixture:  newFixture(config.DedicatedCPUArgs{NodesWithoutExactReport: config.Refuse}),
		snapshot: &snapshot{},
		notes:    &notes{},
		clock:    testclock.NewFakePassiveClock(time.Unix(1000, 0)),
	}
	x.questions = &questions{Explainer: explaining.New(x.notes, x.clock)}
	x.explainer = x.questions
	x.DedicatedCPU.snapshot = func() fwk.SharedLister { return x.snapshot }
	return x
}

// fail runs a scheduling cycle as far as PostFilter, with stock counting before this plugin's Filter, and
// answers what was asked.
func (x *explained) fail(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	state := x.preFilter(t, pod)
	statuses := framework.NewNodeToStatus(map[string]*fwk.Status{}, fwk.NewStatus(fwk.UnschedulableAndUnresolvable))
	for _, info := range x.nodes {
		status := fwk.NewStatus(fwk.Unschedulable, insufficientCPU).WithPlugin(countingPlugin)
		if info.GetAllocatable().GetMilliCPU()-info.GetRequested().GetMilliCPU() >= 1000*int64(must(launcher.Of(pod)).CPUs)+200 {
			status = x.Filter(t.Context(), state, pod, info)
			if status.IsSuccess() {
				t.Fatalf("%s fits on %s", pod.Name, info.Node().Name)
			}
			status.SetPlugin(Name)
		}
		statuses.Set(info.Node().Name, status)
	}
	result, status := x.PostFilter(t.Context(), state, pod, statuses)
	if result != nil || status.Code() != fwk.Unschedulable || status.Message() != "" {
		t.Errorf("PostFilter: %v %v %q, which changes what becomes of the pod", result, status.Code(), status.Message())
	}
	for i := range x.questions.asked {
		x.questions.Answer(&x.questions.asked[i])
	}
	x.questions.asked = nil
}

func must(l launcher.Launcher, _ bool) launcher.Launcher { return l }

func (x *explained) last(t *testing.T) string {
	t.Helper()
	if len(x.texts) == 0 {
		t.Fatal("there is no event")
	}
	return x.texts[len(x.texts)-1]
}

func TestEventHasTheNumbersOfTheNearestNodes(t *testing.T) {
	x := newExplained()
	held := func(name, namespace, cpus string) *corev1.Pod {
		pod := launcherPod(name, cpus)
		pod.Namespace = namespace
		pod.Annotations = map[string]string{"kubevirt.io/domain": "vm-" + name}
		return pod
	}
	x.report(t, "full", map[string]string{"a": "0-3,8-11", "b": "4-7,12-15"})
	x.add(x.node(t, "full", held("a", "vms", "8"), held("b", "vms", "8")), 17)
	x.report(t, "near", map[string]string{"c": "0,8", "d": "4-5,12-13"})
	x.add(x.node(t, "near", held("c", "vms", "2"), held("d", "others", "4")), 16)
	x.report(t, "counted", map[string]string{"e": "0-3,8-11"})
	x.add(x.node(t, "counted", held("e", "vms", "8")), 16)
	x.add(x.node(t, "silent"), 16)
	x.fail(t, launcherPod("new", "8"))
	want := "As of 00:16:40 UTC: The pod asks for 8 CPUs of its own + 200m in the shared pool. 3 nodes have no room for it: " +
		"counted: 7800m of 16000m CPU left by count, of 8200m asked; fits if the pod asks for 2 CPUs fewer (6 instead of 8), or if VM vms/vm-e (8 CPUs) moves. " +
		"near: 6 free CPUs in NUMA node 0 as 3 whole cores, 4 in NUMA node 1 as 2 whole cores; needs 4 whole cores in one NUMA node; fits if the pod asks for 2 CPUs fewer (6 instead of 8), or if VM vms/vm-c (2 CPUs) moves. " +
		"full: 600m of 17000m CPU left by count, of 8200m asked; fits if VM vms/vm-a (8 CPUs) moves, or if VM vms/vm-b (8 CPUs) moves. By count near has room, so an autoscaler adds no node."
	if got := x.last(t); got != want || len(got) > 1024 {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if x.actions[0] != "CPUsMissing Explaining1" {
		t.Errorf("the event is %s", x.actions[0])
	}
}

func TestOtherNamespacesAreNotNamed(t *testing.T) {
	vm, plain := launcherPod("a", "2"), guaranteedPod("b", "2")
	vm.Annotations = map[string]string{"kubevirt.io/domain": "db"}
	for reader, want := range map[string]string{"vms": "VM vms/db, pod vms/b", "others": "a VM of another namespace, a pod of another namespace"} {
		if got := displayName(vm, reader) + ", " + displayName(plain, reader); got != want {
			t.Errorf("told in %s: %s, want %s", reader, got, want)
		}
	}
}

func TestAPodIsToldTheSameOnce(t *testing.T) {
	const (
		askAfter      = 5 * time.Second
		askAgainAfter = time.Minute
		retellAfter   = 5 * time.Minute
	)
	x := newExplained()
	pod := launcherPod("new", "8")
	x.report(t, "n1", map[string]string{"a": "0,8", "b": "4,12"})
	info := x.node(t, "n1", launcherPod("a", "2"), launcherPod("b", "2"))
	x.add(info, 16)
	later := func(d time.Duration) { x.clock.SetTime(x.clock.Now().Add(d)) }
	x.fail(t, pod)
	if x.explainer.Due(pod.UID) {
		t.Error("the pod is looked at again at once")
	}
	later(askAfter)
	x.fail(t, pod)
	if later(askAgainAfter - 1); x.explainer.Due(pod.UID) {
		t.Error("the pod is looked at again although nothing was new")
	}
	expect := func(events int, when string) {
		t.Helper()
		if len(x.texts) != events {
			t.Errorf("%s: %d events, want %d: %q", when, len(x.texts), events, x.texts)
		}
	}
	expect(1, "the same twice")
	later(retellAfter)
	x.fail(t, pod)
	expect(2, "the same, later")
	for _, held := range []string{"0-1,8-9", "0-2,8-10", "0,8", "1,9"} {
		later(askAfter)
		x.report(t, "n1", map[string]string{"a": held, "b": "4,12"})
		x.fail(t, pod)
	}
	expect(4, "many different texts")
	if x.explainer.Due(pod.UID) || !x.explainer.Due("another") {
		t.Error("the pod was told enough for now, others were not")
	}
	if x.actions[1] == x.actions[2] {
		t.Error("two texts in one event: the recorder would keep the first")
	}
}

func TestNothingIsToldOfWhatIsNotAboutCPUs(t *testing.T) {
	x := newExplained()
	pod := launcherPod("new", "8")
	x.report(t, "coming", map[string]string{"a": "0-3,8-11"})
	x.add(x.node(t, "coming", launcherPod("a", "8"), onNode(launcherPod("b", "8"))), 32)
	x.fail(t, pod) // in flight: its report comes in a moment
	state := x.preFilter(t, pod)
	statuses := framework.NewNodeToStatus(map[string]*fwk.Status{
		"coming": fwk.NewStatus(fwk.Unschedulable, "Insufficient memory", insufficientCPU).WithPlugin(countingPlugin),
	}, nil)
	x.PostFilter(t.Context(), state, pod, statuses)
	state.Delete(stateKey) // a pod that PreFilter skipped
	x.PostFilter(t.Context(), state, pod, statuses)
	if len(x.texts)+len(x.questions.asked) != 0 {
		t.Errorf("told %q, %d questions", x.texts, len(x.questions.asked))
	}
}

// BenchmarkPostFilter is what a pod that found no node among 5,000 costs the scheduling cycle, and beside it.
func BenchmarkPostFilter(b *testing.B) {
	x := newExplained()
	statuses := framework.NewNodeToStatus(map[string]*fwk.Status{}, nil)
	pod := launcherPod("new", "8")
	state := x.preFilter(b, pod)
	for i := range 5000 {
		name := fmt.Sprintf("n%d", i)
		one, two := launcherPod(name+"a", "2"), launcherPod(name+"b", "4")
		x.report(b, name, map[string]string{name + "a": "0,8", name + "b": "4-5,12-13"})
		x.add(x.node(b, name, one, two), 16)
		statuses.Set(name, x.Filter(b.Context(), state, pod, x.nodes[i]).WithPlugin(Name))
	}
	var q explaining.Question
	b.Run("in the cycle", func(b *testing.B) {
		for b.Loop() {
			x.PostFilter(b.Context(), state, pod, statuses)
			q = x.questions.asked[0]
			x.questions.asked = nil
		}
	})
	b.Run("beside it", func(b *testing.B) {
		for b.Loop() {
			if q.Text() == "" {
				b.Fatal("there is no answer")
			}
		}
	})
}
