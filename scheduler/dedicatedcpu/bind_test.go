// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	testclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/term"
)

// The outcome of a binding is what the API server has, whatever the answer was.
func TestALostAnswerIsAskedFor(t *testing.T) {
	errLost := errors.New("connection reset by peer")
	for name, tc := range map[string]struct {
		err   error
		now   func(pod *corev1.Pod) // how the API server has the pod
		away  int                   // answers before the API server is back
		gone  bool
		bound bool
	}{
		"answered":            {bound: true, now: func(*corev1.Pod) {}},
		"lost, bound":         {err: errLost, bound: true, now: func(p *corev1.Pod) { p.Spec.NodeName = "n1" }},
		"lost, not bound":     {err: errLost, now: func(*corev1.Pod) {}},
		"bound elsewhere":     {err: errLost, now: func(p *corev1.Pod) { p.Spec.NodeName = "n2" }},
		"another pod":         {err: errLost, now: func(p *corev1.Pod) { p.Spec.NodeName = "n1"; p.UID = "other" }},
		"deleted":             {err: errLost, gone: true},
		"API server is away":  {err: errLost, away: 2, bound: true, now: func(p *corev1.Pod) { p.Spec.NodeName = "n1" }},
		"away, and not bound": {err: errLost, away: 1, now: func(*corev1.Pod) {}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{})
			pod := guaranteedPod("vm", "2")
			client := fake.NewClientset()
			if !tc.gone {
				now := pod.DeepCopy()
				tc.now(now)
				client = fake.NewClientset(now)
			}
			asked := 0
			client.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
				asked++
				return asked <= tc.away, nil, errLost
			})
			b.client = client
			b.bind = func(context.Context, *corev1.Binding) error { return tc.err }
			state := framework.NewCycleState()
			state.Write(stateKey, &cycle{findings: newFindings()})
			status := b.Bind(t.Context(), state, pod, "n1")
			if status.IsSuccess() != tc.bound {
				t.Errorf("bound is %t, want %t: %v", status.IsSuccess(), tc.bound, status)
			}
			if tc.err == nil && asked > 0 {
				t.Errorf("the API server was asked %d times about a binding that it had answered", asked)
			}
		})
	}
}

// While a pod waits for its volumes, its node may become another one. Then it is not bound, and a failed binding leaves nothing.
func TestAPlaceThatHasChanged(t *testing.T) {
	for name, tc := range map[string]struct {
		beside []*corev1.Pod
		left   bool
		bound  bool
	}{
		"nothing has happened":        {bound: true},
		"a pod has left":              {left: true, bound: true},
		"others have come meanwhile":  {left: true, beside: []*corev1.Pod{onNode(guaranteedPod("other", "6"))}},
		"others are on another node":  {left: true, beside: []*corev1.Pod{onNode(guaranteedPod("other", "6"), "n2")}, bound: true},
		"others have come, none left": {beside: []*corev1.Pod{onNode(guaranteedPod("other", "6"))}, bound: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{})
			b.report(t, "n1", map[string]string{"leaver": "1,9", "stays": "2,10"})
			b.listed(t)
			leaver := onNode(guaranteedPod("leaver", "2"))
			stays := onNode(guaranteedPod("stays", "2"))
			pod := launcherPod("vm", "8")
			if err := b.podLister.Add(pod.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			state := b.bound(t, pod, b.node(t, "n1", leaver, stays))
			bound := 0
			b.bind = func(context.Context, *corev1.Binding) error { bound++; return nil }
			for _, other := range append(tc.beside, stays) {
				if err := b.podLister.Add(other); err != nil {
					t.Fatal(err)
				}
			}
			if tc.left {
				b.podEvents().OnDelete(leaver)
			}
			status := b.Bind(t.Context(), state, pod, "n1")
			if status.IsSuccess() != tc.bound || (bound == 1) != tc.bound {
				t.Fatalf("%s: bound is %t, want %t: %v", name, bound == 1, tc.bound, status)
			}
			if tc.bound {
				return
			}
			if !status.IsRejected() || status.Message() != ReasonChanged {
				t.Errorf("%s: status %v", name, status)
			}
			b.Unreserve(t.Context(), state, pod, "n1")
			if b.audit.Expects(pod.UID) {
				t.Errorf("%s: the pod is still expected", name)
			}
			<-time.After(changedRetry)
			synctest.Wait()
			b.expectWoken(t, name+", after a moment", "vms/vm")
		})
	}
}

// Nothing is bound, not even a pod without dedicated CPUs, when another scheduler may lead.
func TestNobodyIsBoundWithoutTheLease(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	clock := testclock.NewFakeClock(time.Unix(1000, 0))
	b.term = term.New(clock)
	b.term.Watch(&leaderelection.LeaderElectionConfig{Lock: &resourcelock.LeaseLock{}, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second})
	b.bind = func(context.Context, *corev1.Binding) error {
		t.Error("it is bound")
		return nil
	}
	dedicated := framework.NewCycleState()
	dedicated.Write(stateKey, &cycle{findings: newFindings()})
	for name, state := range map[string]*framework.CycleState{"a VM": dedicated, "another pod": framework.NewCycleState()} {
		status := b.Bind(t.Context(), state, guaranteedPod("vm", "2"), "n1")
		if status.Code() != fwk.Error || status.Message() != "not bound to node n1: another scheduler leads, and this one ends within 10s" {
			t.Errorf("%s: %v", name, status)
		}
	}
}

// Other pods are left to the next plugin.
func TestOtherPodsAreBoundByOthers(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	if status := b.Bind(t.Context(), framework.NewCycleState(), guaranteedPod("vm", "2"), "n1"); !status.IsSkip() {
		t.Errorf("status %v, want Skip", status)
	}
}
