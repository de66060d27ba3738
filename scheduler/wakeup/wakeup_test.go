// SPDX-License-Identifier: Apache-2.0

package wakeup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// fixture is a Waker with one node n1.
type fixture struct {
	*Waker
	t     *testing.T
	pods  cache.Indexer
	mu    sync.Mutex
	woken map[string]bool
	stop  context.CancelFunc
	// room is the answer of every demand.
	room  int
	exact bool
}

func newFixture(t *testing.T) *fixture {
	nodes := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	pods := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	if err := nodes.Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	f := &fixture{t: t, pods: pods, woken: map[string]bool{}, stop: stop}
	f.Waker = New(ctx, corelisters.NewNodeLister(nodes), corelisters.NewPodLister(pods), f, clock.RealClock{})
	return f
}

// Activate makes the fixture the scheduling queue.
func (f *fixture) Activate(_ klog.Logger, pods map[string]*corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, pod := range pods {
		f.woken[pod.Name] = true
	}
}

// take returns the pods that were woken since the last call.
func (f *fixture) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := slices.Sorted(maps.Keys(f.woken))
	clear(f.woken)
	return names
}

// demand has the room of the fixture.
type demand struct {
	*fixture
	heldAt string
	class  string
}

func (d *demand) Class() string           { return d.class }
func (d *demand) HeldAt(node string) bool { return d.heldAt == node }
func (d *demand) Capacity(_ *corev1.Node, limit int) (pods int, exact bool) {
	return min(d.room, limit), d.exact
}

func (f *fixture) pend(name string, created time.Time) *corev1.Pod {
	f.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(created)}}
	if err := f.pods.Add(pod); err != nil {
		f.t.Fatal(err)
	}
	f.Add(pod, &demand{fixture: f})
	return pod
}

// expect checks how many pods were woken since the last call, and removes them: they are bound.
func (f *fixture) expect(when string, want int) {
	f.t.Helper()
	if got := f.take(); len(got) != want {
		f.t.Errorf("%s: %d pods are woken, want %d: %v", when, len(got), want, got)
	}
}

// pass lets time pass.
func pass(length time.Duration) {
	<-time.After(length)
	synctest.Wait()
}

// steps lets time pass, and returns how many pods each step woke.
func (f *fixture) steps(number int, length time.Duration) (woken []int) {
	f.take()
	for range number {
		pass(length)
		woken = append(woken, len(f.take()))
	}
	return woken
}

// Exact room that is not used grows, estimated room does not: pods bound there are not seen before the next report.
func TestRounds(t *testing.T) {
	for name, test := range map[string]struct {
		room  int
		exact bool
		first int
		later []int // in steps of pause
		pause time.Duration
	}{
		"exact room":        {room: 1, exact: true, first: 1, later: []int{4, 16, 64, 15, 0}, pause: RoundPause},
		"estimated room":    {room: 1, exact: false, first: 1, later: []int{4, 1, 1}, pause: MaxPause},
		"no room":           {room: NoCapacity, exact: true, first: 0, later: []int{0, 0}, pause: MaxPause},
		"for expected pods": {room: 0, exact: true, first: 0, later: []int{0, 0}, pause: MaxPause},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			f.room = test.room
			f.exact = test.exact
			for i := range 100 {
				f.pend(fmt.Sprint("vm-", i), time.Now())
			}
			f.ReportChanged("n1", true)
			f.expect("the report", test.first)
			if got := f.steps(len(test.later), test.pause); !slices.Equal(got, test.later) {
				t.Errorf("%s: later rounds wake %v, want %v", name, got, test.later)
			}
		})
	}
}

// A report that frees nothing helps nobody where room is only estimated, unless pods are still to be woken for an earlier one.
func TestEstimatedRoomThatIsNotNew(t *testing.T) { synctest.Test(t, testEstimatedRoomThatIsNotNew) }

func testEstimatedRoomThatIsNotNew(t *testing.T) {
	f := newFixture(t)
	f.room = 1
	for i := range 3 {
		f.pend(fmt.Sprint("vm-", i), time.Now())
	}
	f.ReportChanged("n1", false)
	f.expect("nothing is free that was not", 0)
	f.ReportChanged("n1", true)
	f.expect("a CPU is free", 1)
	f.ReportChanged("n1", false)
	f.expect("it still is, and two pods do not know", 1)
	f.exact = true
	f.ReportChanged("n1", false)
	f.expect("the room is exact", 1)
}

// A Node that is deleted leaves nothing behind: with an autoscaler their names are without end. Nor does a context
// that ends.
func TestNothingIsLeftBehind(t *testing.T) { synctest.Test(t, testNothingIsLeftBehind) }

func testNothingIsLeftBehind(t *testing.T) {
	f := newFixture(t)
	f.ReportChanged("nobody", true)
	if len(f.rounds) > 0 {
		t.Errorf("there are rounds of a node that does not exist: %v", f.rounds)
	}
	f.exact = true
	f.pend("vm", time.Now())
	f.ReportChanged("n1", true)
	f.RetryIn("vm", time.Minute)
	f.stop()
	synctest.Wait()
	f.room = 1
	pass(time.Hour)
	f.ReportChanged("nobody", true)
	f.expect("the context has ended", 0)
}

// However often a pod's cycles ask, it is tried again once.
func TestRetryIn(t *testing.T) { synctest.Test(t, testRetryIn) }

func testRetryIn(t *testing.T) {
	f := newFixture(t)
	pod := f.pend("vm", time.Now().Add(time.Hour)) // by a clock that is ahead
	pass(10 * time.Second)
	if got := f.PendingFor("vm"); got != 10*time.Second {
		t.Errorf("the pod is pending for %s, want 10s", got)
	}
	cycle := func() {
		f.Begin("vm")
		f.Add(pod, &demand{fixture: f})
	}
	for range 3 {
		f.RetryIn("vm", 20*time.Second)
		cycle()
	}
	pass(19 * time.Second)
	f.expect("too early", 0)
	pass(time.Second)
	f.expect("in time", 1)
	pass(activateAgain)
	f.expect("no cycle followed", 1)
	pass(activateAgain)
	f.expect("nor did one now", 1)
	cycle()
	pass(time.Hour)
	f.expect("once only", 0)
	f.RetryIn("vm", time.Second)
	f.Remove("vm")
	pass(time.Second)
	f.expect("the pod is bound", 0)
	f.RetryIn("vm", time.Second)
	pass(time.Second)
	f.expect("a pod that is not pending", 0)
}

// A pod that was deleted in its cycle, or made again under its name, is not pending.
func TestAddOfADeletedPod(t *testing.T) { synctest.Test(t, testAddOfADeletedPod) }

func testAddOfADeletedPod(t *testing.T) {
	f := newFixture(t)
	pod := f.pend("vm", time.Now())
	f.Remove("vm")
	deleted := pod.DeepCopy()
	deleted.UID = "before"
	f.Add(deleted, &demand{fixture: f})
	if got := f.Len(); got != 0 || len(f.pending) != 0 {
		t.Errorf("%d pods are pending, want none", got)
	}
}

// A pod is in one class, and in none once it is bound: classes do not grow with the pods that have come and gone.
func TestAPodIsInOneClass(t *testing.T) {
	f := newFixture(t)
	defer f.stop()
	for _, class := range []string{"a", "a", "b", ""} {
		f.put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "p"}}, &demand{fixture: f, class: class})
		if len(f.classes) != 1 || len(f.classes[class]) != 1 {
			t.Errorf("class %q: %v", class, f.classes)
		}
	}
	f.Remove("p")
	if len(f.classes) > 0 || f.Len() > 0 {
		t.Errorf("left: %v", f.classes)
	}
}
