// SPDX-License-Identifier: Apache-2.0

package taint

import (
	"context"
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"
)

const key = "startup-taint.cluster-autoscaler.kubernetes.io/corepin"

func TestTheStartupTaintGoesWhenTheReportIsExact(t *testing.T) {
	ours := corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}
	other := corev1.Taint{Key: "example.com/gpu", Value: "yes", Effect: corev1.TaintEffectNoExecute}
	for name, test := range map[string]struct {
		key    string
		ready  bool
		taints []corev1.Taint
		now    []corev1.Taint // at the API server, if that is newer than what the agent sees
		want   []corev1.Taint
		fails  bool
	}{
		"exact":                       {key: key, ready: true, taints: []corev1.Taint{ours}},
		"beside another taint":        {key: key, ready: true, taints: []corev1.Taint{other, ours}, want: []corev1.Taint{other}},
		"not exact yet":               {key: key, taints: []corev1.Taint{ours}, want: []corev1.Taint{ours}},
		"it is not there":             {key: key, ready: true, taints: []corev1.Taint{other}, want: []corev1.Taint{other}},
		"none is configured":          {ready: true, taints: []corev1.Taint{ours}, want: []corev1.Taint{ours}},
		"somebody has added another":  {key: key, ready: true, taints: []corev1.Taint{ours}, now: []corev1.Taint{ours, other}, want: []corev1.Taint{ours, other}, fails: true},
		"somebody has taken it away":  {key: key, ready: true, taints: []corev1.Taint{ours, other}, now: []corev1.Taint{other}, want: []corev1.Taint{other}, fails: true},
		"another taint is configured": {key: "example.com/gpu", ready: true, taints: []corev1.Taint{other, ours}, want: []corev1.Taint{ours}},
	} {
		seen := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{Taints: test.taints}}
		stored := seen.DeepCopy()
		if test.now != nil {
			stored.Spec.Taints = test.now
		}
		nodes := fake.NewClientset(stored).CoreV1().Nodes()
		r := New(Options{Key: test.key, Nodes: nodes, Node: func() (*corev1.Node, error) { return seen, nil }, Ready: func() bool { return test.ready }, Clock: clock.RealClock{}})
		err := r.sync(t.Context())
		if (err != nil) != test.fails {
			t.Errorf("%s: error %v, want one: %t", name, err, test.fails)
		}
		got, err := nodes.Get(context.Background(), "n1", metav1.GetOptions{})
		if err != nil || !slices.Equal(got.Spec.Taints, test.want) && len(got.Spec.Taints)+len(test.want) > 0 {
			t.Errorf("%s: taints %v, error %v, want %v", name, got.Spec.Taints, err, test.want)
		}
	}
}

func TestWithoutANode(t *testing.T) {
	missing := apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, "n1")
	for _, failure := range []error{missing, errors.New("no connection")} {
		r := New(Options{Key: key, Node: func() (*corev1.Node, error) { return nil, failure }, Ready: func() bool { return true }, Clock: clock.RealClock{}})
		if err := r.sync(t.Context()); (err != nil) != (failure != error(missing)) {
			t.Errorf("%v: error %v", failure, err)
		}
	}
}
