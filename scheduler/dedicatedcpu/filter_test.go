// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodes"
)

func unaligned(s *v1alpha1.NodeCPUStatus) {
	s.CPUManager.Options = nil
	s.TopologyManager.Policy = "none"
}

func coresOnly(s *v1alpha1.NodeCPUStatus) { s.TopologyManager.Policy = "none" }

// cards gives each NUMA node two devices, of which one is free.
func cards(s *v1alpha1.NodeCPUStatus) {
	s.Format = v1alpha1.FormatVersion
	s.Devices = []v1alpha1.DeviceResource{{Name: "example.com/card", Groups: []v1alpha1.DeviceGroup{
		{NUMANodes: "0", Devices: 2, Healthy: 2, Free: 1}, {NUMANodes: "1", Devices: 2, Healthy: 2, Free: 1},
	}}}
	s.Conditions = append(s.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionDevicesKnown, Status: metav1.ConditionTrue, ObservedGeneration: s.Generation,
	})
}

func TestFilter(t *testing.T) {
	type status = func(s *v1alpha1.NodeCPUStatus)
	for name, test := range map[string]struct {
		pod        *corev1.Pod
		granted    map[string]string // every granted pod is on the node
		inFlight   []*corev1.Pod
		report     []status
		wantCode   fwk.Code
		wantReason string
	}{
		"it fits": {pod: launcherPod("new", "8")},
		"it fits once more": {
			pod: launcherPod("new", "8"), granted: map[string]string{"a": "0-3,8-11"},
		},
		"occupied NUMA nodes": {
			pod: launcherPod("new", "8"), granted: map[string]string{"a": "0,8", "b": "4,12"},
			wantCode: fwk.Unschedulable, wantReason: ReasonNoAlignment,
		},
		"larger than any NUMA node": {
			pod: launcherPod("new", "10"), wantCode: fwk.UnschedulableAndUnresolvable, wantReason: ReasonNeverAligned,
		},
		"odd where whole cores are given": {
			pod: launcherPod("new", "3"), wantCode: fwk.UnschedulableAndUnresolvable, wantReason: ReasonOddThreads,
		},
		"no whole cores left": {
			pod: launcherPod("new", "8"), granted: map[string]string{"a": "0-5,8-13"}, report: []status{coresOnly},
			wantCode: fwk.Unschedulable, wantReason: ReasonNoCores,
		},
		"more cores than the node has": {
			pod: launcherPod("new", "18"), report: []status{coresOnly},
			wantCode: fwk.UnschedulableAndUnresolvable, wantReason: ReasonNeverCores,
		},
		"no CPUs left": {
			pod: launcherPod("new", "3"), granted: map[string]string{"a": "0-13"}, report: []status{unaligned},
			wantCode: fwk.Unschedulable, wantReason: ReasonNoRoom,
		},
		"more CPUs than the node has": {
			pod: launcherPod("new", "17"), report: []status{unaligned},
			wantCode: fwk.UnschedulableAndUnresolvable, wantReason: ReasonTooSmall,
		},
		"one room for two": {
			pod: launcherPod("new", "8"), granted: map[string]string{"a": "0-3,8-11"},
			inFlight: []*corev1.Pod{onNode(launcherPod("b", "8"))},
			wantCode: fwk.Pending, wantReason: ReasonInFlight,
		},
		"the room is for one that waits for its volume": {
			pod: launcherPod("new", "8"), granted: map[string]string{"a": "0-3,8-11"},
			inFlight: []*corev1.Pod{launcherPod("b", "8")},
			wantCode: fwk.Unschedulable, wantReason: ReasonKept,
		},
		"no CPU manager": {
			pod: launcherPod("new", "2"), report: []status{func(s *v1alpha1.NodeCPUStatus) { s.CPUManager = v1alpha1.CPUManager{Policy: "none"} }},
			wantCode: fwk.UnschedulableAndUnresolvable, wantReason: ReasonNoCPUManager,
		},
		"a report that can't be read": {
			pod: launcherPod("new", "2"), report: []status{func(s *v1alpha1.NodeCPUStatus) { s.SharedCPUs = "x" }},
			wantCode: fwk.UnschedulableAndUnresolvable, wantReason: ReasonUnreadableReport,
		},
		"a Guaranteed pod is held to the kubelet's decision": {
			pod: guaranteedPod("new", "10"), wantCode: fwk.UnschedulableAndUnresolvable, wantReason: ReasonNeverAligned,
		},
		"but not where there is no CPU manager": {
			pod: guaranteedPod("new", "10"), report: []status{func(s *v1alpha1.NodeCPUStatus) { s.CPUManager = v1alpha1.CPUManager{Policy: "none"} }},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{NodesWithoutExactReport: config.Refuse})
			b.report(t, "n1", test.granted, test.report...)
			pods := test.inFlight
			for uid := range test.granted {
				pods = append(pods, launcherPod(uid, "2"))
			}
			status := b.Filter(t.Context(), b.preFilter(t, test.pod), test.pod, b.node(t, "n1", pods...))
			if status.Code() != test.wantCode || status.Message() != test.wantReason {
				t.Errorf("got %s %q, want %s %q", status.Code(), status.Message(), test.wantCode, test.wantReason)
			}
		})
	}
}

// The reason tells CPUs that are short from what is short beside them.
func TestFilterWithDevices(t *testing.T) {
	for name, test := range map[string]struct {
		cpus, cards string
		granted     map[string]string
		code        fwk.Code
		reason      string
	}{
		"a free device of each NUMA node":        {cpus: "8", cards: "1"},
		"more devices than a NUMA node has free": {cpus: "2", cards: "2", code: fwk.Unschedulable, reason: ReasonNoNUMARoom},
		"more devices than any NUMA node has":    {cpus: "2", cards: "3", code: fwk.UnschedulableAndUnresolvable, reason: ReasonNeverNUMARoom},
		"too few CPUs beside a free device": {
			cpus: "8", cards: "1", granted: map[string]string{"a": "0,8", "b": "4,12"}, code: fwk.Unschedulable, reason: ReasonNoAlignment,
		},
	} {
		b := newFixture(config.DedicatedCPUArgs{NodesWithoutExactReport: config.Refuse})
		b.report(t, "n1", test.granted, cards)
		var pods []*corev1.Pod
		for uid := range test.granted {
			pods = append(pods, launcherPod(uid, "2"))
		}
		vm := launcherPod("new", test.cpus, asking("example.com/card", test.cards))
		status := b.Filter(t.Context(), b.preFilter(t, vm), vm, b.node(t, "n1", pods...))
		if status.Code() != test.code || status.Message() != test.reason {
			t.Errorf("%s: got %s %q, want %s %q", name, status.Code(), status.Message(), test.code, test.reason)
		}
	}
}

func TestFilterWantsTheLabelOfVMsOnly(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", nil)
	for value, want := range map[string]string{"": ReasonNoLabel, "false": ReasonNoLabel, "true": ""} {
		for _, label := range []string{"cpumanager", "kubevirt.io/cpumanager"} {
			info := b.node(t, "n1")
			node := info.Node().DeepCopy()
			node.Labels = map[string]string{label: value}
			info.SetNode(node)
			vm, plain := launcherPod("vm", "2"), guaranteedPod("plain", "2")
			if got := b.Filter(t.Context(), b.preFilter(t, vm), vm, info).Message(); got != want {
				t.Errorf("a VM, %s=%q: %q, want %q", label, value, got, want)
			}
			if status := b.Filter(t.Context(), b.preFilter(t, plain), plain, info); !status.IsSuccess() {
				t.Errorf("a plain pod, %s=%q: %q", label, value, status.Message())
			}
		}
	}
}

// What is not known is never taken for free: a VM goes there only by the argument, and a pod that does not
// insist on CPUs of its own as if corepin were not there.
func TestJudgeOfWhatIsNotKnown(t *testing.T) {
	pass := ""
	for state, want := range map[nodereport.State]struct{ refuse, estimate, plain string }{
		nodereport.Missing:      {ReasonNoReport, pass, pass},
		nodereport.Unlisted:     {ReasonUnlisted, pass, pass},
		nodereport.Starting:     {ReasonStarting, ReasonStarting, ReasonStarting},
		nodereport.Newer:        {ReasonNewerReport, pass, pass},
		nodereport.Unreadable:   {ReasonUnreadableReport, pass, pass},
		nodereport.NoCPUManager: {ReasonNoCPUManager, ReasonNoCPUManager, pass},
		nodereport.Inexact:      {ReasonInexact, pass, pass},
	} {
		refusal := func(policy config.UnknownNodePolicy, pod *corev1.Pod) string {
			d := newFixture(config.DedicatedCPUArgs{NodesWithoutExactReport: policy}).podDemand(pod)
			n := verdict.Node{State: state, Labelled: true}
			r := refusalOf(&nodes.Prediction{Verdict: verdict.Of(&n, d)}, d)
			if r == nil {
				return pass
			}
			return r.reason
		}
		for _, check := range []struct{ who, got, want string }{
			{"a VM, Refuse", refusal(config.Refuse, launcherPod("vm", "2")), want.refuse},
			{"a VM, Estimate", refusal(config.Estimate, launcherPod("vm", "2")), want.estimate},
			{"a plain pod", refusal(config.Refuse, guaranteedPod("plain", "2")), want.plain},
		} {
			if check.got != check.want {
				t.Errorf("%s, %s: %q, want %q", state, check.who, check.got, check.want)
			}
		}
	}
}

func TestFilterWithoutPreFilterIsAnError(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	pod := launcherPod("vm", "2")
	state := b.preFilter(t, pod)
	state.Delete(stateKey)
	if status := b.Filter(t.Context(), state, pod, b.node(t, "n1")); status.Code() != fwk.Error || !strings.Contains(status.Message(), "vms/vm") {
		t.Errorf("got %s %q", status.Code(), status.Message())
	}
}

func TestReasonsCanBeCounted(t *testing.T) {
	codes := map[string]fwk.Code{} // of each reason that is used with one code only
	for _, r := range allRefusals() {
		if !strings.HasPrefix(r.reason, "node(s) ") || len(r.reason) > 100 {
			t.Errorf("%q does not read well after a number, or is long", r.reason)
		}
		key := r.reason + r.label
		if code, seen := codes[key]; seen && code == r.code {
			t.Errorf("%q with label %q and code %s is listed twice", r.reason, r.label, r.code)
		}
		codes[key] = r.code
	}
}

// A victim in flight: what would be free without it is not known, and who could be spared neither.
func TestFilterOfSimulatedEvictions(t *testing.T) {
	b, pod := newFixture(config.DedicatedCPUArgs{}), launcherPod("new", "8")
	b.report(t, "n1", map[string]string{"reported": "0-3,8-11"})
	reported, inFlight := onNode(launcherPod("reported", "8")), onNode(launcherPod("inFlight", "8"))
	for _, test := range []struct {
		victim *corev1.Pod
		want   string
	}{{reported, ""}, {inFlight, ReasonInFlight}} {
		info, state := b.node(t, "n1", reported, inFlight), b.preFilter(t, pod)
		simulated := info.Snapshot()
		if test.victim == reported {
			readCycle(state).predict(info)
			b.report(t, "n1", map[string]string{"reported": "0-3,8-11", "inFlight": "4-7,12-15"})
		}
		state = state.Clone()
		if err := simulated.RemovePod(logger(t), test.victim); err != nil {
			t.Fatal(err)
		}
		podInfo, err := framework.NewPodInfo(test.victim)
		if err != nil {
			t.Fatal(err)
		}
		if status := b.PreFilterExtensions().RemovePod(t.Context(), state, pod, podInfo, simulated); !status.IsSuccess() {
			t.Fatal(status.Message())
		}
		if got := b.Filter(t.Context(), state, pod, simulated).Message(); got != test.want {
			t.Errorf("without %s: refused for %q, want %q", test.victim.Name, got, test.want)
		}
		b.report(t, "n1", map[string]string{"reported": "0-3,8-11"})
	}
}

// For a VM nobody is evicted on a guess, nor while a node that may have room has not answered yet. How long that takes is
// measured by the scheduler's clock: the API server's, which gives a pod its creation time, may be ahead.
func TestNobodyIsEvictedOnAGuess(t *testing.T) {
	victim := onNode(launcherPod("victim", "8"))
	podInfo, err := framework.NewPodInfo(victim)
	if err != nil {
		t.Fatal(err)
	}
	ahead := func(pod *corev1.Pod) { pod.CreationTimestamp = metav1.NewTime(time.Now().Add(time.Hour)) }
	for name, test := range map[string]struct {
		pod       *corev1.Pod
		estimated bool          // the node
		held      bool          // another one, by pods in flight
		pending   time.Duration // the pod, before
		want      string
	}{
		"a node predicted exactly":                {pod: launcherPod("new", "8")},
		"an estimated node":                       {pod: launcherPod("new", "8"), estimated: true, want: ReasonNoReport},
		"an estimated node, for a pod of no VM":   {pod: guaranteedPod("new", "8"), estimated: true},
		"another node waits for its report":       {pod: launcherPod("new", "8"), held: true, pending: time.Second, want: ReasonInFlight},
		"another node has waited for a long time": {pod: launcherPod("new", "8"), held: true, pending: time.Minute},
		"and the API server's clock is ahead":     {pod: launcherPod("new", "8", ahead), held: true, pending: time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{})
			b.listed(t)
			if !test.estimated {
				b.report(t, "n1", map[string]string{"victim": "0-3,8-11"})
			}
			b.pend(t, test.pod, b.podDemand(test.pod))
			<-time.After(test.pending)
			info, state := b.node(t, "n1", victim), b.preFilter(t, test.pod)
			if test.held {
				readCycle(state).held.Store(true)
			}
			simulated := info.Snapshot()
			if err := simulated.RemovePod(logger(t), victim); err != nil {
				t.Fatal(err)
			}
			state = state.Clone()
			if status := b.PreFilterExtensions().RemovePod(t.Context(), state, test.pod, podInfo, simulated); !status.IsSuccess() {
				t.Fatal(status.Message())
			}
			if got := b.Filter(t.Context(), state, test.pod, simulated).Message(); got != test.want {
				t.Errorf("%s: refused for %q, want %q", name, got, test.want)
			}
		})
	}
}

// What preemption and nominated pods make of a copy of a node is not believed: the node itself answers as if nobody had
// asked about the copies.
func TestSimulationsLeaveNoTrace(t *testing.T) {
	b, pod, large := newFixture(config.DedicatedCPUArgs{}), launcherPod("new", "2"), launcherPod("large", "8")
	b.report(t, "n1", map[string]string{"reported": "0-3,8-11", "other": "4-5,12-13"})
	reported, inFlight := onNode(launcherPod("reported", "8")), onNode(launcherPod("inFlight", "2"))
	info := b.node(t, "n1", reported, inFlight, onNode(launcherPod("other", "4")))
	for round := range 3 {
		state := b.preFilter(t, pod)
		ask := func(about string, state fwk.CycleState, info fwk.NodeInfo, want string) {
			t.Helper()
			if got := b.Filter(t.Context(), state, pod, info).Message(); got != want {
				t.Errorf("round %d, %s: refused for %q, want %q", round, about, got, want)
			}
		}
		nominated := info.SnapshotConcrete()
		nominated.AddPod(launcherPod("nominated", "2"))
		ask("beside a nominated pod", state.Clone(), nominated, ReasonInFlight)
		ask("as it is", state, info, "")
		for _, victim := range []*corev1.Pod{reported, inFlight} {
			without := info.SnapshotConcrete()
			if err := without.RemovePod(logger(t), victim); err != nil {
				t.Fatal(err)
			}
			b.Filter(t.Context(), state.Clone(), pod, without)
		}
		ask("as it still is", state, info, "")
		if at := b.view.BestCase(info.Node(), readCycle(b.preFilter(t, large)).Demand); at.Decision.Verdict == admission.Admitted {
			t.Errorf("round %d: a pod is believed to be gone that was evicted in a simulation only", round)
		}
		info.SetNode(info.Node()) // another generation, as after any event
	}
}
