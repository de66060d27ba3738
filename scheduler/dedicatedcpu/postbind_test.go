// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/scheduler/config"
)

// The node has 16 allocatable CPUs and no report; every VM has a sidecar of 200m.
func TestEstimate(t *testing.T) {
	unclear := func(s *v1alpha1.NodeCPUStatus) {
		s.Conditions[0].Status, s.Conditions[0].Message = "False", "the memory manager is on"
	}
	for name, test := range map[string]struct {
		pod      *corev1.Pod
		there    []*corev1.Pod
		report   func(*v1alpha1.NodeCPUStatus)
		wantCode fwk.Code
		want     string
	}{
		"there is room":                         {pod: launcherPod("new", "8")},
		"the sidecar takes a CPU":               {pod: launcherPod("new", "16"), wantCode: fwk.UnschedulableAndUnresolvable, want: ReasonNoReport + "; estimated too small"},
		"just enough beside another":            {pod: launcherPod("new", "8"), there: []*corev1.Pod{launcherPod("a", "7")}},
		"two sidecars take a CPU":               {pod: launcherPod("new", "8"), there: []*corev1.Pod{launcherPod("a", "8")}, wantCode: fwk.Unschedulable, want: ReasonNoReport + "; estimated full"},
		"with the cause":                        {pod: launcherPod("new", "16"), report: unclear, wantCode: fwk.UnschedulableAndUnresolvable, want: ReasonInexact + "; estimated too small"},
		"what Filter would know does not count": {pod: launcherPod("new", "3"), report: unclear},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{})
			b.listed(t)
			if test.report != nil {
				b.report(t, "n1", nil, test.report)
			}
			status := b.Filter(t.Context(), b.preFilter(t, test.pod), test.pod, b.node(t, "n1", test.there...))
			if status.Code() != test.wantCode || status.Message() != test.want {
				t.Errorf("got %s %q, want %s %q", status.Code(), status.Message(), test.wantCode, test.want)
			}
		})
	}
}

// A VM bound by an estimate gets an event with the cause.
func TestEstimateIsTold(t *testing.T) {
	b, pod := newFixture(config.DedicatedCPUArgs{}), launcherPod("new", "4")
	b.listed(t)
	state := b.preFilter(t, pod)
	if status := b.Filter(t.Context(), state, pod, b.node(t, "n1")); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	b.Reserve(t.Context(), state, pod, "n1")
	b.PostBind(t.Context(), state, pod, "n1")
	select {
	case told := <-b.DedicatedCPU.events.(*events.FakeRecorder).Events:
		for _, want := range []string{"CPUsEstimated", "n1", "by a count of free CPUs", "there is no report"} {
			if !strings.Contains(told, want) {
				t.Errorf("the event %q does not say %q", told, want)
			}
		}
	default:
		t.Error("nothing was told")
	}
}

// A VM that runs and is not as it should be gets an event when it is bound. One that would get no exclusive CPUs is bound like
// any pod where it does not name corepin's scheduler, with an event too.
func TestQuestionableVMs(t *testing.T) {
	unnamed := func(pod *corev1.Pod) { pod.Spec.SchedulerName = corev1.DefaultSchedulerName }
	const twice = "{cpu: {cores: 2, " + dedicated + "}, memory: {guest: 2Gi}, resources: {limits: {cpu: 2}, requests: {memory: 1Gi}}}"
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		skip bool
		want string
	}{
		"more guest memory than is requested":         {pod: launcherPod("p", "2", ofVMI), want: "VMQuestionable spec.domain.memory.guest: 2Gi is more than requests.memory = 1Gi"},
		"not Guaranteed, for the cluster's scheduler": {pod: launcherPod("p", "2", ofVMI, burstable, unnamed), skip: true, want: "scheduled like a pod without dedicated CPUs: "},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{})
			b.vmi(t, twice)
			state := framework.NewCycleState()
			_, status := b.PreFilter(t.Context(), state, test.pod, nil)
			if status.IsSkip() != test.skip || !test.skip && !status.IsSuccess() {
				t.Fatalf("PreFilter: %s %q", status.Code(), status.Message())
			}
			if !test.skip {
				b.PostBind(t.Context(), state, test.pod, "n1")
			}
			select {
			case event := <-b.DedicatedCPU.events.(*events.FakeRecorder).Events:
				if !strings.Contains(event, test.want) {
					t.Errorf("event %q; want %q", event, test.want)
				}
			default:
				t.Error("no event")
			}
		})
	}
}

func TestCPUManagerNodes(t *testing.T) {
	for policy, want := range map[config.LabelPolicy]string{config.Required: ReasonNoLabel, config.Preferred: ""} {
		b, pod := newFixture(config.DedicatedCPUArgs{CPUManagerNodes: policy}), launcherPod("new", "4")
		b.report(t, "n1", nil)
		info := b.node(t, "n1")
		node := info.Node().DeepCopy()
		node.Labels = nil
		info.SetNode(node)
		state := b.preFilter(t, pod)
		if got := b.Filter(t.Context(), state, pod, info).Message(); got != want {
			t.Errorf("%s: a node without label is refused for %q, want %q", policy, got, want)
		}
	}
}
