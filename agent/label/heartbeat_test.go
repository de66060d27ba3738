// SPDX-License-Identifier: Apache-2.0

package label

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	clocktesting "k8s.io/utils/clock/testing"
)

func TestHeartbeatsGrowOld(t *testing.T) {
	now := time.Date(2026, 8, 14, 9, 30, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		text string
		want bool
	}{
		"as KubeVirt 1.9 writes it":     {"2026-08-14T09:29:00Z", true},
		"with a zone":                   {"2026-08-14T11:29:00+02:00", true},
		"as a JSON string":              {`"2026-08-14T09:29:00Z"`, true},
		"nearly too old":                {"2026-08-14T09:20:01Z", true},
		"old":                           {"2026-08-14T09:20:00Z", false},
		"old, as a JSON string":         {`"2026-08-14T08:30:00Z"`, false},
		"from before the clock was set": {"2026-08-15T09:30:00Z", false},
		"a little ahead":                {"2026-08-14T09:30:05Z", true},
		"of an unknown form":            {"1786699800", true},
		"empty":                         {"", true},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{heartbeat: tc.text}}}
		if got := leftToKubeVirt(node, now); got != tc.want {
			t.Errorf("%s: left to KubeVirt %t, want %t", name, got, tc.want)
		}
	}
	if leftToKubeVirt(&corev1.Node{}, now) {
		t.Error("a node without a heartbeat is left to KubeVirt")
	}
}

// There is no event for a heartbeat that stops, so the labels are checked as time passes.
func TestLabelsAreTakenOverWhenTheHeartbeatStops(t *testing.T) {
	w := newWorld(t, nil)
	fake := clocktesting.NewFakeClock(time.Now())
	w.labeller.options.Clock = fake
	w.labeller.Loop = newLoop(fake)
	node, err := w.labeller.options.Node()
	if err != nil {
		t.Fatal(err)
	}
	node.Annotations = map[string]string{heartbeat: fake.Now().Format(time.RFC3339)}
	if _, err := w.client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{FieldManager: "virt-handler"}); err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.labeller.Run(t.Context()) }()
	begin := fake.Now()
	err = wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		fake.Step(10 * time.Second)
		node, err := w.client.CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if node.Labels[CPUManager] == value && fake.Since(begin) < alive {
			return false, errors.New("labelled while the heartbeat was alive")
		}
		return node.Labels[CPUManager] == value, nil
	})
	if err != nil {
		t.Error(err)
	}
}
