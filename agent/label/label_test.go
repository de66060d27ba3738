// SPDX-License-Identifier: Apache-2.0

package label

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/source"
)

const agent = "corepin-agent"

func TestDecide(t *testing.T) {
	for _, tc := range []struct {
		gate, static Answer
		want         Action
	}{
		{Yes, Yes, Set},
		{Yes, No, GiveUp},
		{Yes, Unknown, Leave},
		{No, Yes, GiveUp},
		{No, No, GiveUp},
		{No, Unknown, GiveUp},
		{Unknown, Yes, Leave},
		{Unknown, No, Leave},
		{Unknown, Unknown, Leave},
	} {
		if got := Decide(tc.gate, tc.static); got != tc.want {
			t.Errorf("gate %s, static %s: %s, want %s", tc.gate, tc.static, got, tc.want)
		}
	}
}

func TestStatic(t *testing.T) {
	var never source.Reading[kubelet.Checkpoint]
	failed := errors.New("half written")
	static := never.Next(kubelet.Checkpoint{Policy: "static"}, nil, time.Time{})
	none := never.Next(kubelet.Checkpoint{Policy: "none"}, nil, time.Time{})
	for name, tc := range map[string]struct {
		checkpoint source.Reading[kubelet.Checkpoint]
		want       Answer
	}{
		"not read yet":     {never, Unknown},
		"never readable":   {never.Next(kubelet.Checkpoint{}, failed, time.Time{}), Unknown},
		"static":           {static, Yes},
		"none":             {none, No},
		"static, then bad": {static.Next(kubelet.Checkpoint{}, failed, time.Time{}), Unknown},
		"none, then bad":   {none.Next(kubelet.Checkpoint{}, failed, time.Time{}), Unknown},
	} {
		if got := Static(&kubelet.State{Checkpoint: tc.checkpoint}); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// world is a Node at an API server that keeps book of who set what.
type world struct {
	t            *testing.T
	client       *fake.Clientset
	recorder     *record.FakeRecorder
	labeller     *Labeller
	gate, static Answer
}

func newWorld(t *testing.T, labels map[string]string) *world {
	w := &world{t: t, client: fake.NewClientset(), recorder: record.NewFakeRecorder(10), gate: Yes, static: Yes}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"zone": "a"}}}
	maps.Copy(node.Labels, labels)
	if _, err := w.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{FieldManager: "kubectl-label"}); err != nil {
		t.Fatal(err)
	}
	w.restart()
	return w
}

func (w *world) restart() {
	w.labeller = New(Options{
		FieldManager: agent, Nodes: w.client.CoreV1().Nodes(), Recorder: w.recorder, Clock: clock.RealClock{},
		Node: func() (*corev1.Node, error) {
			return w.client.CoreV1().Nodes().Get(w.t.Context(), "n1", metav1.GetOptions{})
		},
		Gate: func() (Answer, string) { return w.gate, "a test" }, Static: func() Answer { return w.static },
	})
}

// person does what kubectl label does.
func (w *world) person(label, value string) {
	w.t.Helper()
	nodes := w.client.CoreV1().Nodes()
	node, err := nodes.Get(w.t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	if value == "" {
		delete(node.Labels, label)
	} else {
		node.Labels[label] = value
	}
	if _, err := nodes.Update(w.t.Context(), node, metav1.UpdateOptions{FieldManager: "kubectl-label"}); err != nil {
		w.t.Fatal(err)
	}
}

// step syncs and compares both labels, "" for none, and the number of writes.
func (w *world) step(what, cpumanager, kubevirt string, writes, events int) {
	w.t.Helper()
	w.client.ClearActions()
	if err := w.labeller.sync(w.t.Context()); err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	got := 0
	for _, action := range w.client.Actions() {
		if action.GetVerb() == "patch" {
			got++
		}
	}
	if got != writes {
		w.t.Errorf("%s: %d writes, want %d", what, got, writes)
	}
	node, err := w.client.CoreV1().Nodes().Get(w.t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	if node.Labels[CPUManager] != cpumanager || node.Labels[KubeVirtCPUManager] != kubevirt || node.Labels["zone"] != "a" {
		w.t.Errorf("%s: labels are %v", what, node.Labels)
	}
	for range events {
		select {
		case event := <-w.recorder.Events:
			if !strings.Contains(event, EventConflict) || !strings.Contains(event, "kubectl-label") {
				w.t.Errorf("%s: event %q", what, event)
			}
		default:
			w.t.Errorf("%s: too few events", what)
		}
	}
	if len(w.recorder.Events) > 0 {
		w.t.Errorf("%s: another event %q", what, <-w.recorder.Events)
	}
}

func TestLabelsFollowTheCPUManagerAndTheGate(t *testing.T) {
	w := newWorld(t, nil)
	w.gate = Unknown
	w.step("nothing is known", "", "", 0, 0)
	w.gate = Yes
	w.step("static", "true", "true", 1, 0)
	w.step("nothing new", "true", "true", 0, 0)
	w.restart()
	w.step("the agent is new", "true", "true", 0, 0)
	w.static = Unknown
	w.step("the state is unreadable", "true", "true", 0, 0)
	w.static = No
	w.step("the CPU manager is gone", "", "", 1, 0)
	w.step("still gone", "", "", 0, 0)
	w.static = Yes
	w.step("it is back", "true", "true", 1, 0)
	w.gate, w.static = No, Unknown
	w.restart()
	w.step("the gate is off", "", "", 1, 0)
	w.gate, w.static = Yes, Yes
	w.step("the gate is on", "true", "true", 1, 0)
	w.person(CPUManager, "")
	w.step("a person removed one", "true", "true", 1, 0)
}

func TestLabelsOfPersonsStay(t *testing.T) {
	w := newWorld(t, map[string]string{CPUManager: "true"})
	w.gate = No
	w.step("a label set by hand, the gate off", "true", "", 0, 0)
	w.gate = Yes
	w.step("the gate on", "true", "true", 1, 0)
	w.gate = No
	w.step("the gate off again", "true", "", 1, 0)
	w.gate, w.static = Yes, No
	w.step("no CPU manager", "true", "", 0, 0)
}

func TestLabelsWithAnotherValueStay(t *testing.T) {
	w := newWorld(t, map[string]string{CPUManager: "false"})
	w.step("another value", "false", "true", 1, 1)
	w.step("told once", "false", "true", 0, 0)
	w.person(CPUManager, "")
	w.step("the person gave in", "true", "true", 1, 0)
	w.person(KubeVirtCPUManager, "false")
	w.step("a person overwrote ours", "true", "false", 0, 1)
	w.static = No
	w.step("no CPU manager", "", "false", 1, 0)
}

// A value set between the look and the write is a conflict at the API server, and not overwritten.
func TestRacingPersonWins(t *testing.T) {
	w := newWorld(t, nil)
	stale, err := w.labeller.options.Node()
	if err != nil {
		t.Fatal(err)
	}
	w.person(CPUManager, "false")
	fresh := w.labeller.options.Node
	w.labeller.options.Node = func() (*corev1.Node, error) { return stale, nil }
	if err := w.labeller.sync(t.Context()); !apierrors.IsConflict(err) {
		t.Errorf("got error %v, want a conflict", err)
	}
	w.labeller.options.Node = fresh
	w.step("afterwards", "false", "true", 1, 1)
}

func TestOwnedLabelsOfOthersAreNotOurs(t *testing.T) {
	client := fake.NewClientset()
	apply := func(manager string, labels map[string]string) *corev1.Node {
		t.Helper()
		node, err := client.CoreV1().Nodes().Apply(t.Context(), applycorev1.Node("n1").WithLabels(labels), metav1.ApplyOptions{FieldManager: manager})
		if err != nil {
			t.Fatal(err)
		}
		return node
	}
	apply("other", map[string]string{CPUManager: "true", "x": "y"})
	node := apply(agent, map[string]string{KubeVirtCPUManager: "true"})
	if got := ownedLabels(node, agent); len(got) != 1 || got[0] != KubeVirtCPUManager {
		t.Errorf("own labels are %v, want %s", got, KubeVirtCPUManager)
	}
	node.ManagedFields = append(node.ManagedFields, metav1.ManagedFieldsEntry{
		Manager: agent, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1("garbage"),
	})
	if got := ownedLabels(node, agent); len(got) != 1 {
		t.Errorf("with an entry that cannot be read, own labels are %v", got)
	}
}

func TestRunWithoutNode(t *testing.T) {
	w := newWorld(t, nil)
	w.labeller.options.Node = func() (*corev1.Node, error) { return nil, apierrors.NewNotFound(corev1.Resource("nodes"), "n1") }
	w.step("no Node", "", "", 0, 0)
}
