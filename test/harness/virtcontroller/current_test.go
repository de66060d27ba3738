// SPDX-License-Identifier: Apache-2.0

package virtcontroller

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestCurrentPod(t *testing.T) {
	pod := func(name, node, migration string, age time.Duration) *corev1.Pod {
		made := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubevirt.io": "virt-launcher"}, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age))}}
		made.Spec.NodeName = node
		if migration != "" {
			made.Labels["kubevirt.io/migrationJobUID"] = migration
		}
		return made
	}
	start := pod("start", "n1", "", 3*time.Minute)
	target := pod("target", "n2", "m1", 2*time.Minute)
	back := pod("back", "n1", "m2", time.Minute)
	for name, test := range map[string]struct {
		status map[string]any
		pods   []*corev1.Pod
		want   string
	}{
		"it starts":             {map[string]any{}, []*corev1.Pod{start}, "start"},
		"it has none":           {map[string]any{"nodeName": "n1"}, nil, ""},
		"its target is there":   {map[string]any{"nodeName": "n1"}, []*corev1.Pod{target, start}, "start"},
		"it has moved":          {map[string]any{"nodeName": "n2", "migrationState": map[string]any{"completed": true}}, []*corev1.Pod{start, target}, "target"},
		"it has moved back":     {map[string]any{"nodeName": "n1", "migrationState": map[string]any{"completed": true}}, []*corev1.Pod{back, start, target}, "back"},
		"its pod there is gone": {map[string]any{"nodeName": "n2", "migrationState": map[string]any{"completed": true}}, []*corev1.Pod{start}, ""},
		"its migration goes on": {map[string]any{"nodeName": "n1", "migrationState": map[string]any{"targetNode": "n2"}}, []*corev1.Pod{target, start}, "start"},
	} {
		got := ""
		found := currentPod(&unstructured.Unstructured{Object: map[string]any{"status": test.status}}, test.pods)
		if found != nil {
			got = found.Name
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
