// SPDX-License-Identifier: Apache-2.0

package heard

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/scheduler/nodes"
)

// What is written is what is so: when an agent becomes ready after its report came, when it falls silent and when it is back.
func TestWatchWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "n1"}}
		core := fake.NewClientset(node, podNamed("a", "1", false))
		factory := informers.NewSharedInformerFactory(core, 0)
		pods := factory.Core().V1().Pods().Informer()
		lister := factory.Core().V1().Nodes().Lister()
		factory.Core().V1().Nodes().Informer()
		objects := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
		written := make(chan string, 10)
		objects.PrependReactor("patch", "nodecpus", func(action clienttesting.Action) (bool, runtime.Object, error) {
			patch := action.(clienttesting.PatchAction)
			var sent struct {
				Metadata struct{ ResourceVersion string }
				Status   struct{ Conditions []metav1.Condition }
			}
			if err := json.Unmarshal(patch.GetPatch(), &sent); err != nil {
				t.Error(err)
			}
			c := sent.Status.Conditions[0]
			written <- strings.Join([]string{patch.GetName(), action.GetSubresource(), sent.Metadata.ResourceVersion, c.Type, string(c.Status)}, " ")
			return true, &unstructured.Unstructured{}, nil
		})
		recorder := events.NewFakeRecorder(10)
		changed := make(chan string, 10)
		view := nodes.New(clock.RealClock{})
		w, err := New(Options{After: 15 * time.Second, View: view, Changed: func(node string) { changed <- node }, Pods: pods, Nodes: lister,
			Client: objects, Recorder: recorder, Clock: clock.RealClock{}})
		if err != nil {
			t.Fatal(err)
		}
		factory.Start(t.Context().Done())
		go w.Run(t.Context())
		report := func(version string, seen metav1.ConditionStatus) {
			r := reportBy("a/1", seen, time.Now())
			view.Set("n1", r)
			w.Reported("n1", version, r)
		}
		ready := func(is bool) {
			pod := podNamed("a", "1", is)
			if _, err := core.CoreV1().Pods(pod.Namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
		}
		expect := func(when, want, event string) {
			t.Helper()
			<-time.After(time.Minute)
			got := ""
			told := ""
			if len(written) > 0 {
				got = <-written
			}
			if len(recorder.Events) > 0 {
				told = <-recorder.Events
			}
			if got != want || !strings.Contains(told, event) || (event == "") != (told == "") || len(written) > 0 {
				t.Errorf("%s: wrote %q, want %q; event %q, want %q", when, got, want, told, event)
			}
		}
		<-time.After(2 * time.Second)
		report("7", "")
		<-time.After(5 * time.Second)
		ready(true)
		expect("an agent that becomes ready after its report came", "n1 status 7 Seen True", "")
		report("8", metav1.ConditionTrue)
		expect("nothing happens", "", "")
		ready(false)
		expect("it hangs", "n1 status 8 Seen False", "NodeNotHeard not heard from since 2000-")
		if len(changed) != 1 {
			t.Errorf("%d changes", len(changed))
		}
		report("9", metav1.ConditionFalse)
		ready(true)
		expect("it is back", "n1 status 9 Seen True", "NodeHeard")
	})
}
