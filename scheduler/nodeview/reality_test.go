package nodeview

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/admission"
)

// Free at first are 1-3,9-11 (NUMA node 0, which comes first while it has fewer) and 4-7,12-15.
func TestCompared(t *testing.T) {
	for name, test := range map[string]struct {
		before   grants
		expected []*corev1.Pod
		after    grants
		change   func(*v1alpha1.NodeCPU)
		want     int
		mismatch string
	}{
		"as predicted":        {expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("1,9")}, want: 1},
		"nothing came":        {expected: []*corev1.Pod{vm("a", "2")}, after: grants{}},
		"not as predicted":    {expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("2,10")}, want: 1, mismatch: "add a: compute 2, hook shared\n= admitted: compute 2,10\n"},
		"in either order":     {expected: []*corev1.Pod{vm("a", "2"), vm("b", "4")}, after: grants{"b": compute("1-2,9-10"), "a": compute("3,11")}, want: 2},
		"in the other order":  {expected: []*corev1.Pod{vm("a", "2"), vm("b", "4")}, after: grants{"a": compute("1,9"), "b": compute("2-3,10-11")}, want: 2},
		"in no order":         {expected: []*corev1.Pod{vm("a", "2"), vm("b", "4")}, after: grants{"a": compute("1,9"), "b": compute("4-5,12-13")}, want: 2, mismatch: "add b"},
		"one of two has come": {expected: []*corev1.Pod{vm("a", "2"), vm("b", "4")}, after: grants{"b": compute("1-2,9-10")}, want: 1},
		"after another left":  {before: grants{"x": compute("1,9")}, expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("1,9")}, want: 1},
		"before another left": {before: grants{"x": compute("1,9")}, expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("2,10")}, want: 1},
		"beside one that is held": {
			before: grants{"x": compute("1,9")}, expected: []*corev1.Pod{vm("a", "2")}, after: grants{"x": compute("1,9"), "a": compute("3,11")},
			want: 1, mismatch: "reserved 0,8\nadd held-1: compute 2\nadd a",
		},
		"granted by half in the report before": {
			before: grants{"": compute("1,9")}, expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("1,9")}, want: 1,
		},
		"with a stranger": {expected: []*corev1.Pod{vm("a", "2")}, after: grants{"stranger": compute("1,9"), "a": compute("2,10")}},
		"of a kubelet with other options": {
			expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("2,10")},
			change: func(nc *v1alpha1.NodeCPU) { nc.Status.TopologyManager.Policy = "restricted" },
		},
		"by a report that is not exact": {
			expected: []*corev1.Pod{vm("a", "2")}, after: grants{"a": compute("2,10")},
			change: func(nc *v1alpha1.NodeCPU) { nc.Status.Conditions[0].Status = metav1.ConditionFalse },
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := &View{}
			before := nodeCPU(test.before)
			// CPUs of nobody: the kubelet has taken them out of the shared pool, and not told whose they are.
			before.Status.Granted = slices.DeleteFunc(before.Status.Granted, func(pod v1alpha1.PodGrant) bool { return pod.PodUID == "" })
			v.Set(Decode(object(t, before)))
			for _, pod := range test.expected {
				v.Expect("n1", pod.UID, demand(pod))
			}
			nc := nodeCPU(test.after)
			if test.change != nil {
				test.change(nc)
			}
			_, got := v.Set(Decode(object(t, nc)))
			if got.Pods != test.want || (got.Scenario != "") != (test.mismatch != "") || !strings.Contains(got.Scenario, test.mismatch) {
				t.Errorf("compared %d pods, scenario:\n%s\nwant %d, %q", got.Pods, got.Scenario, test.want, test.mismatch)
			}
		})
	}
}

// What was compared once is not compared again, and a pod that went unseen leaves doubt about one report only.
func TestComparedOnce(t *testing.T) {
	v := &View{}
	set := func(granted grants) int {
		_, compared := v.Set(reportOf(t, granted))
		return compared.Pods
	}
	v.Expect("n1", "nobody", demand(vm("nobody", "2"))) // no such node yet
	set(nil)
	v.Expect("n1", "a", demand(vm("a", "2")))
	v.Expect("n1", "unseen", demand(vm("unseen", "2")))
	if got := set(grants{"a": compute("1,9")}); got != 1 {
		t.Errorf("compared %d pods, want a", got)
	}
	if got := set(nil); got != 0 {
		t.Errorf("a has gone: compared %d", got)
	}
	v.Unexpect("n1", "unseen")
	v.Expect("n1", "b", demand(vm("b", "2")))
	if got := set(grants{"b": compute("2,10")}); got != 0 {
		t.Errorf("the one unseen may have held 1,9 for a while: compared %d", got)
	}
	v.Expect("n1", "c", demand(vm("c", "2")))
	if got := set(grants{"b": compute("2,10"), "c": compute("1,9")}); got != 1 {
		t.Errorf("compared %d pods, want c", got)
	}
}

func TestRefused(t *testing.T) {
	v, pod := &View{}, vm("a", "2")
	pod.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "TopologyAffinityError", Message: "Resources cannot be allocated with Topology locality"}
	v.Set(reportOf(t, grants{"x": compute("1,9")}))
	if v.Ended(pod) != nil {
		t.Error("nobody expected the pod")
	}
	v.Expect("n1", pod.UID, demand(pod))
	if !v.Expects(pod) {
		t.Error("the pod is not expected")
	}
	want := `# kubelet 1.36
machine 2 sockets x 1 numa x 4 cores x 2 threads
cpu-manager full-pcpus-only
topology-manager single-numa-node container
reserved 0,8
add held-1: compute 2
add a: compute 2, hook shared
= refused: TopologyAffinityError: Resources cannot be allocated with Topology locality
`
	about := v.Ended(pod)
	if about == nil {
		t.Fatal("the pod was expected, and there is nothing to ask")
	}
	if got := about.Refused(pod); got.Pods != 1 || got.Scenario != want {
		t.Errorf("%d pods, scenario:\n%s\nwant:\n%s", got.Pods, got.Scenario, want)
	}
	if v.Expects(pod) || v.Ended(pod) != nil {
		t.Error("the pod is still expected")
	}
}

// The scheduler goes on while the API server is asked how a pod ended, and may see before that the pod is gone.
func TestRefusedAfterTheNodeWasSeenWithoutIt(t *testing.T) {
	v, pod := &View{}, vm("a", "2")
	v.Set(reportOf(t, nil))
	v.Predict(demand(vm("any", "2")), nodeInfo())
	v.Expect("n1", pod.UID, demand(pod))
	v.Predict(demand(vm("any", "2")), nodeInfo(pod))
	v.Predict(demand(vm("any", "2")), nodeInfo())
	if v.Ended(pod) == nil {
		t.Error("nobody asks what became of the pod")
	}
	if n := v.node("n1"); len(n.expected)+len(n.lostSight) > 0 {
		t.Errorf("expected %v and %v still", n.expected, n.lostSight)
	}
	v.Expect("n1", "b", demand(vm("b", "2")))
	if _, compared := v.Set(reportOf(t, grants{"b": compute("2,10")})); compared.Pods != 0 {
		t.Error("the one that has gone may have held CPUs 1,9 for a while, and b was compared")
	}
}

// The steps lead, by the kubelet's rules, to the node as it was.
func TestOccupy(t *testing.T) {
	for _, test := range []struct{ shared, want string }{
		{"0-15", ""},
		{"0-2,4-10,12-15", "add held-1: compute 2\nadd held-2: compute 2\nadd held-3: compute 2\nremove held-1\nremove held-2\n"},
		{"0-2,4-15", "# held before: 3\n"},
	} {
		node := *reportOf(t, nil).node
		node.Shared = set(test.shared)
		got := occupy(&node)
		if got != test.want {
			t.Errorf("shared %s:\n%swant\n%s", test.shared, got, test.want)
		}
		if strings.HasPrefix(got, "#") {
			continue
		}
		now, holds := node.Empty(), map[string]admission.Decision{}
		for line := range strings.Lines(got) {
			words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" :\n", r) })
			if words[0] == "remove" {
				now = now.Releasing(holds[words[1]].Grants)
				continue
			}
			filler := admission.Pod{Name: words[1], Guaranteed: true, Containers: []admission.Container{{Name: "compute", CPUs: 2}}}
			holds[words[1]] = admission.Admit(&now, &filler)
			now.Shared = holds[words[1]].Shared
		}
		if now.Shared != node.Shared {
			t.Errorf("the steps lead to shared pool %s, want %s", now.Shared, node.Shared)
		}
	}
}

// A report that is not exact any more says nothing of what was predicted.
func TestNothingToAskWithoutAnExactReport(t *testing.T) {
	v, pod := &View{}, vm("a", "2")
	v.Set(reportOf(t, nil))
	v.Expect("n1", pod.UID, demand(pod))
	newer := nodeCPU(nil)
	newer.Status.Format = v1alpha1.FormatVersion + 1
	v.Set(Decode(object(t, newer)))
	if about := v.Ended(pod); about != nil || v.Expects(pod) {
		t.Errorf("to be asked: %+v; expected still: %t", about, v.Expects(pod))
	}
}
