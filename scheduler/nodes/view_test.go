// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
)

func TestViewBeforeTheReportsAreListed(t *testing.T) {
	v := newView()
	d, info := demand(vm("new", "2")), nodeInfo()
	check := func(want nodereport.State) {
		t.Helper()
		if got := v.predict(d, info).State; got != want {
			t.Errorf("predicted %s, want %s", got, want)
		}
	}
	check(nodereport.Starting)
	v.unlisted.Store(true)
	check(nodereport.Unlisted)
	v.listed.Store(true)
	check(nodereport.Missing)
	v.Set("n1", reportOf(t, nil))
	check(nodereport.Exact)
	v.Delete("n1")
	check(nodereport.Awaited)
}

func TestViewAnswersForWhatItIsGiven(t *testing.T) {
	v := newView()
	v.Set("n1", reportOf(t, nil))
	info, d := nodeInfo(), demand(vm("new", "8"))
	expect := func(when, want string) {
		t.Helper()
		if got := v.predict(d, info).Decision.String(); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	expect("empty", "admitted: compute 4-7,12-15")
	victim := vm("a", "8")
	info.AddPod(victim)
	simulated := info.Snapshot()
	if got := v.predict(d, info).Decision.Verdict; got != admission.Wait {
		t.Errorf("with a pod in flight: %s", got)
	}
	v.Set("n1", reportOf(t, grants{"a": compute("4-7,12-15")}))
	expect("granted", "refused: TopologyAffinityError: Resources cannot be allocated with Topology locality")
	if err := simulated.RemovePod(logger(t), victim); err != nil {
		t.Fatal(err)
	}
	if got := v.simulated(d, simulated).Decision.Verdict; got != admission.Admitted {
		t.Errorf("without the victim: %s", got)
	}
	expect("the victim is still there", "refused: TopologyAffinityError: Resources cannot be allocated with Topology locality")
	other := st.MakeNode().Name("n2").Obj()
	elsewhere := nodeInfo()
	elsewhere.SetNode(other)
	v.listed.Store(true)
	if got := v.predict(d, elsewhere).State; got != nodereport.Missing {
		t.Errorf("another node is %s", got)
	}
}

func TestSetTellsWhetherPredictionsChange(t *testing.T) {
	v := newView()
	for i, step := range []struct {
		granted grants
		want    bool
	}{
		{nil, true}, {nil, false}, {grants{"a": compute("1,9")}, true}, {grants{"a": compute("1,9")}, false}, {nil, true},
	} {
		if got := v.Set("n1", reportOf(t, step.granted)).Changed; got != step.want {
			t.Errorf("step %d: changed %t, want %t", i, got, step.want)
		}
	}
	if !v.Delete("n1") || v.Delete("n1") {
		t.Error("a report can be deleted once")
	}
}

func TestBestCase(t *testing.T) {
	v, d := newView(), demand(vm("new", "8"))
	expect := func(when string, want bool) {
		t.Helper()
		if got := v.BestCase(nodeInfo().Node(), d).Decision.Verdict == admission.Admitted; got != want {
			t.Errorf("%s: at best it fits: %t, want %t", when, got, want)
		}
	}
	expect("no report", false)
	full := grants{"a": compute("4-7,12-15")}
	v.Set("n1", reportOf(t, full))
	expect("pod a is there for all we know", false)
	v.predict(d, nodeInfo())
	expect("pod a was gone at the last prediction", true)
	full["b"] = compute("1,9")
	v.Set("n1", reportOf(t, full))
	expect("pod a stays gone in the next report", true)
	v.predict(d, nodeInfo(vm("a", "8")))
	expect("it is back in the NodeInfo: it was only simulated to be gone", false)
	v.Set("n1", reportOf(t, nil))
	v.predict(d, nodeInfo(vm("q", "8")))
	expect("pods in flight do not count", true)
}

// A Node that was made again under its old name may be another machine: what is said of the old one says
// nothing about it.
func TestAReportIsOfOneNode(t *testing.T) {
	v, d := newView(), demand(vm("new", "2"))
	ownedBy := func(uid types.UID) *nodereport.Report {
		nc := nodeCPU(nil)
		nc.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: uid}}
		return Decode(object(t, nc)).Report
	}
	again := nodeInfo()
	again.SetNode(st.MakeNode().Name("n1").UID("new").Obj())
	check := func(when string, want nodereport.State) {
		t.Helper()
		if got := v.predict(d, again); got.State != want {
			t.Errorf("%s: %s (%s), want %s", when, got.State, got.Why, want)
		}
		if at := v.BestCase(again.Node(), d); at.State != want || (at.Decision.Verdict == admission.Admitted) != (want == nodereport.Exact) {
			t.Errorf("%s: at best %s, %s; want %s", when, at.Decision, at.State, want)
		}
	}
	v.Set("n1", ownedBy("old"))
	check("the report of the earlier Node", nodereport.Replaced)
	if !v.Set("n1", ownedBy("new")).Changed {
		t.Error("that the report is now of the new Node is no change")
	}
	check("the new Node's own", nodereport.Exact)
	again.SetNode(st.MakeNode().Name("n1").UID("newer").Obj())
	check("made once more", nodereport.Replaced)
}

// A view that remembers gives the same answers as one that does not, whatever comes and goes, as long as no pod
// goes that was never reported: of that only memory can tell.
func TestViewAgreesWithThePureFunction(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	v, report, info := newView(), reportOf(t, nil), nodeInfo()
	v.Set("n1", report)
	v.predict(demand(vm("new", "2")), info)
	there := map[string]*corev1.Pod{}
	for step := range 2000 {
		switch name := fmt.Sprintf("p%d", random.IntN(5)); random.IntN(4) {
		case 0:
			if there[name] == nil {
				there[name] = vm(name, []string{"2", "4", "6"}[random.IntN(3)])
				info.AddPod(there[name])
			}
		case 1:
			if pod := there[name]; pod != nil && report.Granted[pod.UID] != nil {
				delete(there, name)
				if err := info.RemovePod(logger(t), pod); err != nil {
					t.Fatal(err)
				}
			}
		case 2:
			report = acknowledge(t, report, there)
			v.Set("n1", report)
		}
		d := demand(vm("new", []string{"2", "4", "8"}[random.IntN(3)]))
		got, want := v.predict(d, info), fits(report, info, d)
		if got.Decision.String() != want.Decision.String() || got.State != want.State {
			t.Fatalf("step %d: %s %s, want %s %s", step, got.State, got.Decision, want.State, want.Decision)
		}
	}
}

// acknowledge is the report after the kubelet has admitted the pods that are there, those it can.
func acknowledge(t *testing.T, before *nodereport.Report, there map[string]*corev1.Pod) *nodereport.Report {
	node, granted := *before.Node, grants{}
	for uid, containers := range before.Granted {
		if there[string(uid)] != nil {
			granted[uid] = compute(containers[0].CPUs.String())
		}
	}
	node.Shared = before.Node.Topology.CPUs()
	for _, containers := range granted {
		node.Shared = node.Shared.Minus(containers["compute"])
	}
	for _, pod := range there {
		asks := admission.PodOf(pod)
		if d := admission.Admit(&node, &asks); granted[pod.UID] == nil && d.Verdict == admission.Admitted {
			granted[pod.UID] = compute(d.Granted().String())
			node.Shared = d.Shared
		}
	}
	return reportOf(t, granted)
}

func BenchmarkPredict(b *testing.B) {
	v := newView()
	v.Set("n1", reportOf(b, grants{"a": compute("4-5,12-13")}))
	info, d := nodeInfo(vm("a", "4"), vm("b", "2")), demand(vm("new", "2"))
	b.Run("a node that did not change", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v.predict(d, info)
		}
	})
	b.Run("a node that changed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			info.SetNode(info.Node())
			v.predict(d, info)
		}
	})
}

// The CPUs of a pod in flight depend on who was there when the kubelet admitted it, be it never reported.
func TestAPodThatWentUnreported(t *testing.T) {
	running := func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }
	d := demand(vm("new", "8"))
	assume := func(v *View) { v.Assumed("n1", vm("gone", "6"), &demand(vm("gone", "6")).Pod) }
	for name, test := range map[string]struct {
		// what happens, on a view that has predicted for an empty node
		story func(v *View)
		pods  []*corev1.Pod
		want  admission.Verdict
	}{
		"nobody went": {story: func(*View) {}, pods: []*corev1.Pod{vm("a", "2")}, want: admission.Admitted},
		"seen in a NodeInfo": {
			story: func(v *View) { v.predict(d, nodeInfo(vm("a", "2"), vm("gone", "6"))) },
			pods:  []*corev1.Pod{vm("a", "2")}, want: admission.Wait,
		},
		"bound by us": {
			story: func(v *View) { assume(v); v.Bound("n1", "gone") },
			pods:  []*corev1.Pod{vm("a", "2")}, want: admission.Wait,
		},
		"bound by us in vain": {
			story: func(v *View) { assume(v); v.Left("n1", vm("gone", "6")) },
			pods:  []*corev1.Pod{vm("a", "2")}, want: admission.Wait,
		},
		"assumed by us in vain": {
			story: func(v *View) { assume(v); v.Unbound("n1", vm("gone", "6")) },
			pods:  []*corev1.Pod{vm("a", "2")}, want: admission.Admitted,
		},
		"its binding seemed to fail": {
			story: func(v *View) {
				assume(v)
				v.Bound("n1", "gone")
				v.Unbound("n1", vm("gone", "6"))
			},
			pods: []*corev1.Pod{vm("a", "2")}, want: admission.Wait,
		},
		"bound by another scheduler": {
			story: func(v *View) { v.Left("n1", vm("gone", "6")) }, pods: []*corev1.Pod{vm("a", "2")}, want: admission.Wait,
		},
		"it asked for no CPUs of its own": {
			story: func(v *View) { v.Left("n1", vm("gone", "1500m")) }, pods: []*corev1.Pod{vm("a", "2")}, want: admission.Admitted,
		},
		"nobody is in flight": {story: func(v *View) { v.Left("n1", vm("gone", "6")) }, want: admission.Admitted},
		"the one in flight came later": {
			story: func(v *View) { v.Left("n1", vm("gone", "6")); v.predict(d, nodeInfo()) },
			pods:  []*corev1.Pod{vm("a", "2")}, want: admission.Admitted,
		},
		"the one in flight is reported": {
			story: func(v *View) {
				v.predict(d, nodeInfo(vm("a", "2"), vm("gone", "6")))
				v.predict(d, nodeInfo(vm("a", "2")))
				v.Set("n1", reportOf(t, grants{"a": compute("1,9")}))
			},
			pods: []*corev1.Pod{vm("a", "2")}, want: admission.Admitted,
		},
		"no report will ever have the one in flight": {
			story: func(v *View) {
				v.predict(d, nodeInfo(with(vm("a", "2"), running), vm("gone", "6")))
				v.predict(d, nodeInfo(with(vm("a", "2"), running)))
				v.Set("n1", reportOf(t, grants{"x": compute("1,9")}))
				v.Set("n1", reportOf(t, nil))
			},
			pods: []*corev1.Pod{with(vm("a", "2"), running)}, want: admission.Admitted,
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := newView()
			v.Set("n1", reportOf(t, nil))
			v.predict(d, nodeInfo())
			test.story(v)
			if got := v.predict(d, nodeInfo(test.pods...)).Decision; got.Verdict != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	begins := newView()
	begins.Set("n1", reportOf(t, nil))
	if got := begins.predict(d, nodeInfo(vm("a", "2"))).Decision; got.Verdict != admission.Wait {
		t.Errorf("in flight when the scheduler began: %s", got)
	}
}
