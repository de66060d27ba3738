// SPDX-License-Identifier: Apache-2.0

package fragmentation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"
)

func logger(t testing.TB) klog.Logger { return ktesting.NewLogger(t, ktesting.NewConfig()) }

// taken gives the nodes that were counted since the last call.
func (town *town) taken(t *testing.T) []string {
	town.step(logger(t))
	looked := slices.Sorted(slices.Values(town.looked))
	town.looked = nil
	return looked
}

func TestOnlyWhatHasChangedIsCounted(t *testing.T) {
	town := newTown(t, "pool")
	town.add(t, "n1", "a")
	town.add(t, "n2", "a")
	town.add(t, "n3", "b")
	if got := town.taken(t); !slices.Equal(got, []string{"n1", "n2", "n3"}) {
		t.Errorf("at first %q are counted", got)
	}
	want := map[string]int{"a 2": 14, "a 4": 6, "a 8": 2, "a 16": 0, "a 32": 0, "b 2": 7, "b 4": 3, "b 8": 1, "b 16": 0, "b 32": 0,
		"other 2": 0, "other 4": 0, "other 8": 0, "other 16": 0, "other 32": 0}
	if got := series(t, "corepin_placeable_vms"); !maps.Equal(got, want) {
		t.Errorf("placeable %v, want %v", got, want)
	}
	if got := series(t, "corepin_stranded_cpus"); got["a 4"] != 4 || got["b 8"] != 6 || got["b 32"] != 14 {
		t.Errorf("stranded %v", got)
	}
	if got := town.taken(t); len(got) > 0 {
		t.Errorf("nothing has changed, and %q are counted", got)
	}
	pod := podOf("db", "4").Spec
	pod.Spec.NodeName = "n2"
	town.pods["n2"] = []*corev1.Pod{pod}
	town.PodHandler().OnAdd(pod, false)
	town.Changed("n3")
	if got := town.taken(t); !slices.Equal(got, []string{"n2", "n3"}) {
		t.Errorf("a pod of n2 and the report of n3 have changed, and %q are counted", got)
	}
	if err := town.nodes.Delete(nodeIn("n3", "b")); err != nil {
		t.Fatal(err)
	}
	town.NodeHandler().OnDelete(cache.DeletedFinalStateUnknown{Key: "n3"})
	town.taken(t)
	// By amounts 10 of the 14 CPUs of n2 are left, since its kubelet has granted nothing yet.
	want = map[string]int{"a 2": 12, "a 4": 5, "a 8": 2, "a 16": 0, "a 32": 0, "other 2": 0, "other 4": 0, "other 8": 0, "other 16": 0, "other 32": 0}
	if got := series(t, "corepin_placeable_vms"); !maps.Equal(got, want) {
		t.Errorf("placeable %v, want %v", got, want)
	}
}

// A process that does not lead counts nothing, and notes no changes.
func TestOnlyTheLeaderCounts(t *testing.T) {
	town := newTown(t, "")
	town.leads = false
	town.add(t, "n1", "")
	if counted := town.taken(t); len(counted) > 0 || town.queue.Len() > 0 {
		t.Errorf("it counts %v and notes %d changes", counted, town.queue.Len())
	}
	if got := series(t, "corepin_placeable_vms")["all 2"]; got != 0 {
		t.Errorf("placeable %d, want 0", got)
	}
	town.leads = true
	town.taken(t)
	if got := series(t, "corepin_placeable_vms")["all 2"]; got != 7 {
		t.Errorf("placeable %d, want 7", got)
	}
}

// A minute has a second of work. The series are there when all nodes are counted.
func TestTheTimeIsBounded(t *testing.T) {
	town := newTown(t, "")
	town.takes = 300 * time.Millisecond
	for i := range 10 {
		town.add(t, fmt.Sprint("n", i), "")
	}
	var sizes []int
	var placeable []int
	for range 4 {
		sizes = append(sizes, len(town.taken(t)))
		placeable = append(placeable, series(t, "corepin_placeable_vms")["all 2"])
	}
	if !slices.Equal(sizes, []int{4, 4, 2, 0}) || !slices.Equal(placeable, []int{0, 0, 70, 70}) {
		t.Errorf("counted %v nodes a minute, and published %v", sizes, placeable)
	}
}

func TestWhatCountsAsAChange(t *testing.T) {
	node := nodeIn("n1", "a")
	pod := podOf("db", "4").Spec
	pod.Spec.NodeName = "n1"
	changed := func(change func(node *corev1.Node, pod *corev1.Pod)) (*corev1.Node, *corev1.Pod) {
		n := node.DeepCopy()
		p := pod.DeepCopy()
		change(n, p)
		return n, p
	}
	for name, test := range map[string]struct {
		change func(node *corev1.Node, pod *corev1.Pod)
		want   bool
	}{
		"nothing":                 {func(*corev1.Node, *corev1.Pod) {}, false},
		"a condition of the node": {func(n *corev1.Node, _ *corev1.Pod) { n.Status.Conditions = []corev1.NodeCondition{{Type: "a"}} }, false},
		"the node is cordoned":    {func(n *corev1.Node, _ *corev1.Pod) { n.Spec.Unschedulable = true }, true},
		"the node's pool":         {func(n *corev1.Node, _ *corev1.Pod) { n.Labels["pool"] = "b" }, true},
		"the node has booted":     {func(n *corev1.Node, _ *corev1.Pod) { n.Status.NodeInfo.BootID = "b" }, true},
		"the node's amounts": {func(n *corev1.Node, _ *corev1.Pod) {
			n.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse("1")}
		}, true},
		"another node of that name": {func(n *corev1.Node, _ *corev1.Pod) { n.UID = "other" }, true},
		"the pod becomes ready": {func(_ *corev1.Node, p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady}}
		}, false},
		"the pod asks for others": {func(_ *corev1.Node, p *corev1.Pod) { p.Generation++ }, true},
		"the kubelet begins to give": {func(_ *corev1.Node, p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizeInProgress}}
		}, true},
	} {
		town := newTown(t, "")
		town.step(logger(t)) // it leads
		n, p := changed(test.change)
		town.NodeHandler().OnUpdate(node, n)
		town.PodHandler().OnUpdate(pod, p)
		if got := town.queue.Len() == 1; got != test.want {
			t.Errorf("%s: a change is %t, want %t", name, got, test.want)
		}
	}
	town := newTown(t, "")
	town.step(logger(t))
	waiting := pod.DeepCopy()
	waiting.Spec.NodeName = ""
	town.PodHandler().OnAdd(waiting, false)
	town.PodHandler().OnDelete(waiting)
	if town.queue.Len() != 0 {
		t.Error("a pod on no node is a change")
	}
	town.PodHandler().OnUpdate(waiting, pod)
	town.PodHandler().OnDelete(cache.DeletedFinalStateUnknown{Obj: pod})
	if town.queue.Len() != 1 {
		t.Errorf("a pod is bound and deleted, and %d nodes have changed", town.queue.Len())
	}
}

// Run counts once a minute, and ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		town := newTown(t, "")
		town.add(t, "n1", "")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan bool)
		go func() {
			town.Run(ctx)
			close(ended)
		}()
		for range 2 {
			synctest.Wait()
			town.clock.Step(pace)
		}
		synctest.Wait()
		stop()
		<-ended
		if !slices.Equal(town.looked, []string{"n1"}) {
			t.Errorf("%q are counted in two minutes, want n1 once", town.looked)
		}
	})
}
