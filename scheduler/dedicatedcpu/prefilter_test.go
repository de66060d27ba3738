// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"corepin.dev/corepin/scheduler/config"
)

func notDedicated(pod *corev1.Pod) { pod.Spec.NodeSelector = nil }

func TestPreFilter(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want fwk.Code
		// wantMessage must each be in the message.
		wantMessage []string
	}{
		"a pod that asks for nothing":          {pod: st.MakePod().Name("a").Obj(), want: fwk.Skip},
		"a pod that is not Guaranteed":         {pod: st.MakePod().Name("a").Req(map[corev1.ResourceName]string{"cpu": "2"}).Obj(), want: fwk.Skip},
		"a Guaranteed pod with 1500m":          {pod: guaranteedPod("a", "1500m"), want: fwk.Skip},
		"a Guaranteed pod with whole CPUs":     {pod: guaranteedPod("a", "2"), want: fwk.Success},
		"a VM's launcher pod":                  {pod: launcherPod("a", "2"), want: fwk.Success},
		"a VM that asks for nothing dedicated": {pod: launcherPod("a", "1500m", notDedicated, burstable), want: fwk.Skip},
		"a launcher pod with 1500m": {
			pod: launcherPod("a", "1500m"), want: fwk.UnschedulableAndUnresolvable,
			wantMessage: []string{"the VM asks for dedicated CPUs", `"compute"`, "1500m", "whole number of CPUs"},
		},
		"a launcher pod with a container that an injector added": {
			pod: launcherPod("a", "2", burstable), want: fwk.UnschedulableAndUnresolvable,
			wantMessage: []string{`"hook-sidecar-0"`, "no cpu limit", "give it equal requests and limits"},
		},
		"a launcher pod whose sidecar asks for a whole CPU": {
			pod: launcherPod("a", "2", func(pod *corev1.Pod) { pod.Spec.Containers[1] = container("hook-sidecar-0", "1", "1") }), want: fwk.Success,
		},
	} {
		t.Run(name, func(t *testing.T) {
			state := framework.NewCycleState()
			_, status := b.PreFilter(t.Context(), state, test.pod, nil)
			if status.Code() != test.want {
				t.Errorf("got %s %q, want %s", status.Code(), status.Message(), test.want)
			}
			for _, part := range test.wantMessage {
				if !strings.Contains(status.Message(), part) {
					t.Errorf("message %q does not say %q", status.Message(), part)
				}
			}
			if found := readCycle(state) != nil; found != (test.want == fwk.Success) {
				t.Errorf("a demand was left for Filter: %t", found)
			}
			skips := b.PreScore(t.Context(), state, test.pod, nil).IsSkip()
			if wantScore := test.pod.Spec.NodeSelector != nil && test.want == fwk.Success; skips == wantScore {
				t.Errorf("PreScore skips: %t", skips)
			}
		})
	}
}

func TestSignPod(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	sign := func(pod *corev1.Pod) []fwk.SignFragment {
		t.Helper()
		fragments, status := b.SignPod(t.Context(), pod)
		if !status.IsSuccess() {
			t.Fatalf("%s: %s", pod.Name, status.Message())
		}
		return fragments
	}
	if got := sign(st.MakePod().Name("plain").Obj()); got != nil {
		t.Errorf("a pod that asks for nothing has signature %v", got)
	}
	two := sign(launcherPod("a", "2"))
	if other := sign(launcherPod("b", "2")); !reflect.DeepEqual(two, other) {
		t.Errorf("equal demands differ: %v, %v", two, other)
	}
	for name, other := range map[string]*corev1.Pod{"more CPUs": launcherPod("b", "4"), "no VM": guaranteedPod("b", "2")} {
		if reflect.DeepEqual(two, sign(other)) {
			t.Errorf("%s: same signature", name)
		}
	}
	if _, status := b.SignPod(t.Context(), launcherPod("a", "1500m")); status.Code() != fwk.Unschedulable {
		t.Errorf("a launcher pod that PreFilter refuses is signed: %s", status.Code())
	}
}

// An ordinary pod costs a label lookup and the Status that says Skip.
func TestOrdinaryPodsCostNothing(t *testing.T) {
	b, state := newFixture(config.DedicatedCPUArgs{}), framework.NewCycleState()
	pod := st.MakePod().Name("a").Label("app", "web").Req(map[corev1.ResourceName]string{"cpu": "2"}).Obj()
	pod.Status.QOSClass = corev1.PodQOSBurstable
	allocations := testing.AllocsPerRun(100, func() { b.PreFilter(t.Context(), state, pod, nil) })
	if allocations > 2 {
		t.Errorf("PreFilter makes %v allocations", allocations)
	}
}

func BenchmarkPreFilter(bm *testing.B) {
	b, state := newFixture(config.DedicatedCPUArgs{}), framework.NewCycleState()
	ordinary := st.MakePod().Name("a").Label("app", "web").Req(map[corev1.ResourceName]string{"cpu": "2"}).Obj()
	ordinary.Status.QOSClass = corev1.PodQOSBurstable
	for name, pod := range map[string]*corev1.Pod{"ordinary": ordinary, "launcher": launcherPod("vm", "4")} {
		bm.Run(name, func(bm *testing.B) {
			bm.ReportAllocs()
			for bm.Loop() {
				b.PreFilter(bm.Context(), state, pod, nil)
			}
		})
	}
}
