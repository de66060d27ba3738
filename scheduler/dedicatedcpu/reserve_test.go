// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"corepin.dev/corepin/scheduler/config"
)

// bound takes a pod as far as Reserve.
func (b *fixture) bound(t *testing.T, pod *corev1.Pod, info fwk.NodeInfo) fwk.CycleState {
	t.Helper()
	state := b.preFilter(t, pod)
	if status := b.Filter(t.Context(), state, pod, info); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	b.Reserve(t.Context(), state, pod, info.Node().Name)
	onNode(pod, info.Node().Name)
	return state
}

// Which pods are expected: those that are bound on an exact prediction, until they are not bound after all or have left,
// in whatever state the watch last saw them.
func TestExpectedPods(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", nil)
	b.listed(t)
	info := b.node(t, "n1")
	silent := b.node(t, "n2")
	for name, test := range map[string]struct {
		where *framework.NodeInfo
		then  func(pod *corev1.Pod, state fwk.CycleState)
		want  bool
	}{
		"bound":     {info, func(*corev1.Pod, fwk.CycleState) {}, true},
		"estimated": {silent, func(*corev1.Pod, fwk.CycleState) {}, false},
		"not bound": {info, func(pod *corev1.Pod, state fwk.CycleState) { b.Unreserve(t.Context(), state, pod, "n1") }, false},
		"deleted":   {info, func(pod *corev1.Pod, _ fwk.CycleState) { b.podEvents().OnDelete(pod) }, false},
		"deleted, last seen unbound": {info, func(pod *corev1.Pod, _ fwk.CycleState) {
			unbound := pod.DeepCopy()
			unbound.Spec.NodeName = ""
			b.podEvents().OnDelete(cache.DeletedFinalStateUnknown{Key: "vms/" + pod.Name, Obj: unbound})
		}, false},
	} {
		pod := launcherPod(strings.ReplaceAll(name, " ", "-"), "2")
		state := b.bound(t, pod, test.where)
		test.then(pod, state)
		if got := b.audit.Expects(pod.UID); got != test.want {
			t.Errorf("%s: expected %t, want %t", name, got, test.want)
		}
		b.podEvents().OnDelete(pod)
		b.report(t, "n1", map[string]string{"other": "7,15"})
		b.report(t, "n1", nil)
	}
}
