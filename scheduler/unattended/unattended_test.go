// SPDX-License-Identifier: Apache-2.0

package unattended

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"
)

func waitingPod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: name, UID: types.UID("uid-" + name)}}
	pod.Spec.SchedulerName = "corepin"
	for _, f := range change {
		f(pod)
	}
	return pod
}

func tried(pod *corev1.Pod) {
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse}}
}

// told runs the Watchers of some replicas on one API server, and gives the pods that got an event, with their number.
func told(t *testing.T, replicas int, play func(changed func(before, after *corev1.Pod))) (names string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		ctx, cancel := context.WithCancel(t.Context())
		var all []*Watcher
		for range replicas {
			w := New(clock.RealClock{}, After)
			w.Add("corepin")
			all = append(all, w)
			go w.Run(ctx, client)
		}
		play(func(before, after *corev1.Pod) {
			for _, w := range all {
				switch {
				case before == nil:
					w.Handler().OnAdd(after, false)
				case after == nil:
					w.Handler().OnDelete(before)
				default:
					w.Handler().OnUpdate(before, after)
				}
			}
		})
		<-time.After(2 * After)
		cancel()
		events, err := client.EventsV1().Events("vms").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, event := range events.Items {
			found = append(found, event.Regarding.Name)
			if !strings.Contains(event.Note, "no scheduler has looked at this pod for 1m") || len(event.Note) > 1024 {
				t.Errorf("note %q", event.Note)
			}
		}
		names = strings.Join(found, " ")
	})
	return names
}

func TestUnattended(t *testing.T) {
	second := func() { <-time.After(time.Second) }
	for name, test := range map[string]struct {
		play func(changed func(before, after *corev1.Pod))
		want string
	}{
		"nobody leads": {func(changed func(a, b *corev1.Pod)) {
			changed(nil, waitingPod("a"))
			second()
			changed(nil, waitingPod("b"))
		}, "a b"},
		"it was tried": {func(changed func(a, b *corev1.Pod)) { changed(nil, waitingPod("a", tried)) }, ""},
		"it was tried soon": {func(changed func(a, b *corev1.Pod)) {
			changed(nil, waitingPod("a"))
			second()
			changed(waitingPod("a"), waitingPod("a", tried))
		}, ""},
		"it was deleted": {func(changed func(a, b *corev1.Pod)) {
			changed(nil, waitingPod("a"))
			second()
			changed(waitingPod("a"), nil)
		}, ""},
		"another scheduler": {func(changed func(a, b *corev1.Pod)) {
			changed(nil, waitingPod("a", func(p *corev1.Pod) { p.Spec.SchedulerName = "default-scheduler" }))
		}, ""},
		"a gate": {func(changed func(a, b *corev1.Pod)) {
			changed(nil, waitingPod("a", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x"}} }))
		}, ""},
		"a long queue": {func(changed func(a, b *corev1.Pod)) {
			changed(nil, waitingPod("last"))
			for range 100 { // others are bound all the time
				second()
				changed(waitingPod("other"), waitingPod("other", func(p *corev1.Pod) { p.Spec.NodeName = "n1" }))
			}
			changed(waitingPod("last"), waitingPod("last", tried))
		}, ""},
		"the leader dies": {func(changed func(a, b *corev1.Pod)) {
			changed(nil, waitingPod("last"))
			for range 100 {
				second()
				changed(waitingPod("other"), waitingPod("other", tried))
			}
		}, "last"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, replicas := range []int{1, 2} {
				if got := told(t, replicas, test.play); got != test.want {
					t.Errorf("%d replicas: told %q, want %q", replicas, got, test.want)
				}
			}
		})
	}
}
