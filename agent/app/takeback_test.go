// SPDX-License-Identifier: Apache-2.0

package app

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// labelled makes Nodes as a cluster has them: one that the agent labelled, one that a person labelled too, one with both.
func labelled(t *testing.T, client *fake.Clientset) {
	t.Helper()
	for node, byHand := range map[string]bool{"ours": false, "theirs": true, "both": true} {
		object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
		if byHand {
			object.Labels = map[string]string{"cpumanager": "true"}
		}
		if _, err := client.CoreV1().Nodes().Create(t.Context(), object, metav1.CreateOptions{FieldManager: "kubectl"}); err != nil {
			t.Fatal(err)
		}
		if node == "theirs" {
			continue
		}
		apply := applycorev1.Node(node).WithLabels(map[string]string{"cpumanager": "true", "kubevirt.io/cpumanager": "true"})
		if _, err := client.CoreV1().Nodes().Apply(t.Context(), apply, metav1.ApplyOptions{FieldManager: fieldManager}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTakeBack(t *testing.T) {
	agents := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: daemonSet, Namespace: "corepin-system"}}
	client := fake.NewClientset(agents)
	labelled(t, client)
	// Twice: a Job that failed half way begins again.
	for range 2 {
		if err := takeBack(t.Context(), client.AppsV1().DaemonSets("corepin-system"), client.CoreV1().Nodes(), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for node, want := range map[string]int{"ours": 0, "theirs": 1, "both": 1} {
		got, err := client.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
		if err != nil || len(got.Labels) != want {
			t.Errorf("node %s has the labels %v, want %d (%v)", node, got.Labels, want, err)
		}
	}
	if list, err := client.AppsV1().DaemonSets("").List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
		t.Errorf("%d DaemonSets are left, %v", len(list.Items), err)
	}
}

// Agents that run on would set the labels again, so nothing is taken back before they have ended.
func TestTakeBackWaitsForTheAgents(t *testing.T) {
	agents := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: daemonSet, Namespace: "corepin-system"}}
	client := fake.NewClientset(agents)
	labelled(t, client)
	client.PrependReactor("delete", "daemonsets", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, nil })
	err := takeBack(t.Context(), client.AppsV1().DaemonSets("corepin-system"), client.CoreV1().Nodes(), 10*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), daemonSet) {
		t.Errorf("error %v, want one that names the DaemonSet", err)
	}
	if got, err := client.CoreV1().Nodes().Get(t.Context(), "ours", metav1.GetOptions{}); err != nil || len(got.Labels) != 2 {
		t.Errorf("the labels are %v, want both (%v)", got.Labels, err)
	}
}
