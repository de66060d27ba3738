// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/scheduler/config"
)

// sibling is the plugin of one more profile, with a queue of its own and the same shared state.
func (b *fixture) sibling() *fixture {
	other := newFixture(config.DedicatedCPUArgs{})
	other.sharedState = b.sharedState
	other.nodes = b.nodes
	other.newWaker(clock.RealClock{})
	b.add(other.DedicatedCPU)
	return other
}

// A report wakes the pending pods of every profile, and a deleted pod is pending in none.
func TestProfilesShareTheirState(t *testing.T) {
	first := newFixture(config.DedicatedCPUArgs{})
	second := first.sibling()
	first.node(t, "n1")
	first.report(t, "n1", nil)
	pods := map[*fixture]*corev1.Pod{first: guaranteedPod("one", "4"), second: guaranteedPod("two", "4")}
	for b, pod := range pods {
		d, _ := b.vmDemand(pod)
		b.pend(t, pod, d)
	}
	first.reportChanged("n1")
	for b, pod := range pods {
		if got := b.queue.names(); !slices.Equal(got, []string{pod.Namespace + "/" + pod.Name}) {
			t.Errorf("the report woke %v, want %s", got, pod.Name)
		}
	}
	second.podEvents().OnDelete(pods[first])
	for b, want := range map[*fixture]int{first: 0, second: 1} {
		if got := b.waker.Len(); got != want {
			t.Errorf("%d pods are pending, want %d", got, want)
		}
	}
}

// A pod that one profile binds is compared once with what the kubelet did, whichever profile looks at the node next.
func TestABoundPodIsExpectedByAllProfiles(t *testing.T) {
	first := newFixture(config.DedicatedCPUArgs{})
	second := first.sibling()
	pod := guaranteedPod("one", "4")
	node := first.node(t, "n1")
	first.report(t, "n1", nil)
	state := first.preFilter(t, pod)
	if status := first.Filter(t.Context(), state, pod, node); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	first.Reserve(t.Context(), state, pod, "n1")
	pod.Spec.NodeName = "n1"
	if !second.audit.Expects(pod.UID) {
		t.Error("the other profile does not expect the pod")
	}
}

// Two profiles share cached verdicts only if all their args are equal.
func TestArgsKey(t *testing.T) {
	var defaults config.DedicatedCPUArgs
	config.SetDefaults(&defaults)
	seen := map[string]string{argsKey(&defaults): "the defaults"}
	fields := reflect.TypeFor[config.DedicatedCPUArgs]()
	for i := range fields.NumField() {
		if fields.Field(i).Type == reflect.TypeFor[metav1.TypeMeta]() {
			continue
		}
		args := defaults
		name := fields.Field(i).Name
		switch field := reflect.ValueOf(&args).Elem().Field(i); field.Kind() {
		case reflect.String:
			field.SetString("another")
		case reflect.Int:
			field.SetInt(field.Int() + 1)
		case reflect.Struct: // of metav1.Duration
			field.Field(0).SetInt(1)
		default:
			t.Fatalf("field %s has a new kind %s: check that argsKey has it", name, field.Kind())
		}
		key := argsKey(&args)
		if other, equal := seen[key]; equal {
			t.Errorf("args that differ in %s have the key of %s: %q", name, other, key)
		}
		seen[key] = name
	}
}
