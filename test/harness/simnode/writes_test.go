// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"
)

// slowFor is a client whose writes of one pod's status take until release is closed.
type slowFor struct {
	*fake.Clientset
	name    string
	release chan struct{}
}

type slowCore struct {
	typedcorev1.CoreV1Interface
	slowFor
}

type slowPods struct {
	typedcorev1.PodInterface
	slowFor
}

func (s slowFor) CoreV1() typedcorev1.CoreV1Interface {
	return slowCore{CoreV1Interface: s.Clientset.CoreV1(), slowFor: s}
}

func (s slowCore) Pods(namespace string) typedcorev1.PodInterface {
	return slowPods{PodInterface: s.CoreV1Interface.Pods(namespace), slowFor: s.slowFor}
}

func (s slowPods) UpdateStatus(ctx context.Context, pod *corev1.Pod, o metav1.UpdateOptions) (*corev1.Pod, error) {
	if pod.Name == s.name {
		select {
		case <-s.release:
		case <-ctx.Done():
		}
	}
	return s.PodInterface.UpdateStatus(ctx, pod, o)
}

// An API server that is slow for one pod delays no other one.
func TestAdmissionWaitsForNoWrite(t *testing.T) {
	release := make(chan struct{})
	w := newWorld(t, Options{}, func(node *Node) { node.client = slowFor{node.client.(*fake.Clientset), "slow", release} })
	w.bind(t, pod("slow", 0, "2"))
	w.bind(t, pod("next", 0, "2"))
	w.mustBecome(t, "next", corev1.PodRunning, "", true)
	slow, err := w.api.CoreV1().Pods("vms").Get(t.Context(), "slow", metav1.GetOptions{})
	if err != nil || slow.Status.Phase != "" {
		t.Errorf("phase %q, error %v: its status was written", slow.Status.Phase, err)
	}
	close(release)
	w.mustBecome(t, "slow", corev1.PodRunning, "", true)
}

// What the API server has answered is not sent again before the watch brings another copy of the pod.
func TestNoWriteIsRepeated(t *testing.T) {
	resource := schema.GroupResource{Resource: "pods"}
	for name, tc := range map[string]struct {
		verb    string
		answer  error
		repeats int
	}{
		"a status that was written":       {verb: "update", repeats: 1},
		"a status of an older copy":       {verb: "update", answer: apierrors.NewConflict(resource, "a", errors.New("changed")), repeats: 1},
		"a status of a pod that is gone":  {verb: "update", answer: apierrors.NewNotFound(resource, "a"), repeats: 1},
		"a status that was not taken":     {verb: "update", answer: errors.New("no connection"), repeats: 3},
		"a removal that was begun":        {verb: "delete", repeats: 1},
		"a removal of a pod that is gone": {verb: "delete", answer: apierrors.NewNotFound(resource, "a"), repeats: 1},
		"a removal that was not taken":    {verb: "delete", answer: errors.New("no connection"), repeats: 3},
	} {
		t.Run(name, func(t *testing.T) {
			api, sent := fake.NewClientset(), 0
			api.PrependReactor(tc.verb, "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
				sent++
				update, isUpdate := action.(clienttesting.UpdateAction)
				if tc.answer == nil && isUpdate {
					return true, update.GetObject(), nil
				}
				return true, nil, tc.answer
			})
			state := &podState{pod: pod("a", 0, "2"), rejection: &Rejection{Reason: "OutOfcpu"}}
			if tc.verb == "delete" {
				state.pod.DeletionTimestamp = &state.pod.CreationTimestamp
			}
			n := &Node{pods: map[types.UID]*podState{state.pod.UID: state}}
			l := &life{writes: newWrites(api)}
			for range 3 {
				n.report(t.Context(), l, state)
				if l.writes.busy(state.pod.UID) {
					n.take(t.Context(), l, <-l.writes.answers)
				}
			}
			if sent != tc.repeats {
				t.Errorf("it was sent %d times, want %d", sent, tc.repeats)
			}
		})
	}
}
