// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// life is a node whose kubelet, agent and scheduler each run at their own pace: the pods that the scheduler
// knows, those that the kubelet holds, and the reports on their way.
type life struct {
	t      *testing.T
	random *rand.Rand
	view   *View
	empty  admission.Node
	// known are the pods in the scheduler's NodeInfo, by name; bound those that the kubelet has not seen yet, in
	// the order in which it will not necessarily see them; held what it has granted.
	known map[string]*corev1.Pod
	bound []*corev1.Pod
	held  grants
	// leavers are pods that the scheduler knows to have left, and whose kubelet has not let go of their CPUs yet, by when they
	// left. came is how many had left when a pod was bound, and sure the most of these among the pods that were admitted.
	leavers map[types.UID]int
	left    map[types.UID]int
	came    map[types.UID]int
	ends    int
	sure    int
	// reports are on their way, oldest first.
	reports   []grants
	delivered *nodereport.Report
	serial    int

	binds, waits int
}

func (l *life) node() admission.Node {
	node := l.empty
	for _, containers := range l.held {
		node.Shared = node.Shared.Minus(containers["compute"])
	}
	return node
}

// schedule binds a pod if the view says that the kubelet will admit it, whatever it is that it sees.
func (l *life) schedule() {
	l.serial++
	pod := vm(fmt.Sprintf("p%d", l.serial), []string{"2", "4", "6", "8"}[l.random.IntN(4)])
	info := nodeInfo(slices.Collect(mapsValues(l.known))...)
	d := demand(pod)
	switch p := l.view.predict(d, info); {
	case p.State != nodereport.Exact:
	case p.Fits():
		l.binds++
		l.view.Assumed("n1", pod, &d.Pod) // as Reserve does
		l.view.Bound("n1", pod.UID)       // as PostBind does
		l.came[pod.UID] = l.ends
		l.known[pod.Name] = pod
		l.bound = append(l.bound, pod)
	case p.Decision.Verdict == admission.Wait:
		l.waits++
	}
}

// admit lets the kubelet see one of the pods bound to it, any of them, and holds it to the prediction.
func (l *life) admit() {
	if len(l.bound) == 0 {
		return
	}
	l.admitAt(l.random.IntN(len(l.bound)))
}

func (l *life) admitAt(i int) {
	pod := l.bound[i]
	l.bound = slices.Delete(l.bound, i, i+1)
	l.before(pod)
	if l.known[pod.Name] == nil {
		l.pass(pod)
		return
	}
	node, asks := l.node(), admission.PodOf(pod)
	d := admission.Admit(&node, &asks)
	if d.Verdict != admission.Admitted {
		l.t.Fatalf("pod %s was bound, and the kubelet says %s; held %v", asks, d, l.held)
	}
	l.held[pod.UID] = compute(d.Granted().String())
	l.report()
	// The API server may hear that it runs long before the agent has written the report.
	if l.random.IntN(2) == 0 {
		now := metav1.Now()
		l.known[pod.Name] = with(pod.DeepCopy(), func(p *corev1.Pod) { p.Status.Phase, p.Status.StartTime = corev1.PodRunning, &now })
	}
}

// before lets the kubelet hear of all that had left when a pod was bound.
func (l *life) before(pod *corev1.Pod) {
	for uid, at := range l.leavers {
		if at <= l.came[pod.UID] {
			l.release(uid)
		}
	}
	l.sure = max(l.sure, l.came[pod.UID])
}

// pass is a pod that was deleted before the kubelet saw it. It sees nothing of it, or the pod and after a while its end.
func (l *life) pass(pod *corev1.Pod) {
	at := l.left[pod.UID]
	if at == 0 || at <= l.sure || l.random.IntN(2) == 0 {
		return
	}
	node := l.node()
	asks := admission.PodOf(pod)
	d := admission.Admit(&node, &asks)
	if d.Verdict == admission.Admitted {
		l.held[pod.UID] = compute(d.Granted().String())
		l.leavers[pod.UID] = at
		l.report()
	}
}

// release lets the kubelet free the CPUs of a pod.
func (l *life) release(uid types.UID) {
	delete(l.leavers, uid)
	delete(l.held, uid)
	l.report()
}

// releaseOne lets the kubelet hear of one of the pods that have left.
func (l *life) releaseOne() {
	for uid := range l.leavers { // any
		l.release(uid)
		return
	}
}

// letGo is that the scheduler hears that a pod has left. The kubelet knows that already, or will before it admits a pod that
// is bound from now on.
func (l *life) letGo(pod *corev1.Pod) {
	l.ends++
	l.left[pod.UID] = l.ends
	_, held := l.held[pod.UID]
	if !held {
		return
	}
	l.leavers[pod.UID] = l.ends
	if l.random.IntN(2) == 0 {
		l.release(pod.UID)
	}
}

// end lets a pod go. The scheduler hears of it now.
func (l *life) end() {
	for name, pod := range l.known { // any
		delete(l.known, name)
		l.letGo(pod)
		return
	}
}

func (l *life) report() {
	now := grants{}
	for uid, containers := range l.held {
		now[uid] = containers
	}
	l.reports = append(l.reports, now)
}

// deliver brings reports to the scheduler: the next one, the newest, or the next one twice; the API server never
// shows an older one after a newer.
func (l *life) deliver() {
	if len(l.reports) == 0 {
		return
	}
	next := 0
	if l.random.IntN(3) == 0 {
		next = len(l.reports) - 1
	}
	for range 1 + l.random.IntN(2) {
		l.delivered = reportOf(l.t, l.reports[next])
		l.view.Set("n1", l.delivered)
	}
	l.reports = l.reports[next+1:]
}

// restart is another scheduler in place of this one. It knows what the API server has.
func (l *life) restart() {
	l.view = newView()
	l.view.Set("n1", l.delivered)
}

// However late reports come, and whichever of the pods in flight the kubelet sees first: it admits every pod
// that was bound.
func TestNoBoundPodIsEverRefused(t *testing.T) {
	for seed := range uint64(100) {
		l := &life{t: t, random: rand.New(rand.NewPCG(seed, 1)), view: newView(), empty: *reportOf(t, nil).Node, known: map[string]*corev1.Pod{}, held: grants{}, delivered: reportOf(t, nil),
			leavers: map[types.UID]int{}, left: map[types.UID]int{}, came: map[types.UID]int{}}
		l.restart()
		for range 400 {
			if l.random.IntN(40) == 0 {
				l.restart()
			}
			switch l.random.IntN(9) {
			case 0, 1, 2:
				l.schedule()
			case 3, 4:
				l.admit()
			case 5, 6:
				l.deliver()
			case 7:
				l.releaseOne()
			default:
				l.end()
			}
		}
		if l.binds < 20 || l.waits == 0 {
			t.Errorf("seed %d: %d binds and %d waits are too few to prove anything", seed, l.binds, l.waits)
		}
	}
}

func mapsValues(m map[string]*corev1.Pod) func(func(*corev1.Pod) bool) {
	return func(yield func(*corev1.Pod) bool) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if !yield(m[name]) {
				return
			}
		}
	}
}

// Reports of nodes that kube-scheduler does not know, or not yet, harm nobody, and are there when the node comes.
func TestReportsOfUnknownNodes(t *testing.T) {
	v := newView()
	v.Set("n1", reportOf(t, nil))
	stray := nodeCPU(nil)
	stray.Name = "nobody"
	if !v.Set("nobody", Decode(object(t, stray)).Report).Changed {
		t.Error("the report of an unknown node is not kept")
	}
	if got := v.predict(demand(vm("new", "2")), nodeInfo()).State; got != nodereport.Exact {
		t.Errorf("node n1 is %s", got)
	}
	late := nodeInfo()
	late.SetNode(st.MakeNode().Name("nobody").Obj())
	if got := v.predict(demand(vm("new", "2")), late).State; got != nodereport.Exact {
		t.Errorf("the node that came after its report is %s", got)
	}
}

// A nominated pod stands in the NodeInfo that Filter is given, and counts as in flight.
func TestNominatedPodsCount(t *testing.T) {
	v := newView()
	v.Set("n1", reportOf(t, nil))
	info := nodeInfo()
	if got := v.predict(demand(vm("new", "8")), info).Decision.Verdict; got != admission.Admitted {
		t.Errorf("without: %s", got)
	}
	beside := info.Snapshot()
	beside.(interface{ AddPod(*corev1.Pod) }).AddPod(with(vm("nominated", "8"), nominated))
	if got := v.simulated(demand(vm("new", "8")), beside).Obstacle; got != verdict.Kept {
		t.Errorf("beside one that is nominated for the same CPUs: %s", got)
	}
}

func TestLeftIsBounded(t *testing.T) {
	const static = "0123456789abcdef0123456789abcdef" // whose mirror may go as often as anybody likes
	v := newView()
	v.Set("n1", reportOf(t, grants{"a": compute("1,9")}))
	for i := range 100 {
		pod := vm(fmt.Sprint(i), "2")
		v.Left("n1", pod)
		pod.UID = "a"
		v.Left("n1", pod)
	}
	v.Set("n1", reportOf(t, grants{"a": compute("1,9"), static: compute("2,10")}))
	mirror := vm("mirror", "2")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: static}
	v.Left("n1", mirror)
	n := v.node("n1")
	if !slices.Equal(n.gone, []types.UID{"a"}) {
		t.Errorf("remembered as gone: %v", n.gone)
	}
	v.Set("n1", reportOf(t, grants{"b": compute("1,9")}))
	if len(n.gone) > 0 {
		t.Errorf("still remembered when the report has it no longer: %v", n.gone)
	}
}
