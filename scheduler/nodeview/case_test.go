package nodeview

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/kubelet/admission"
)

// What is explained is what was predicted, at every moment of a node's life: granted, in flight, gone, late.
func TestCaseIsWhatPredictGoesBy(t *testing.T) {
	called := func(pod *corev1.Pod) string { return pod.Name }
	verdicts := map[admission.Verdict]int{}
	for seed := range uint64(10) {
		l := &life{t: t, random: rand.New(rand.NewPCG(seed, 2)), view: &View{}, empty: *reportOf(t, nil).node, known: map[string]*corev1.Pod{}, held: grants{}}
		l.view.Set(reportOf(t, nil))
		for range 300 {
			[]func(){l.schedule, l.schedule, l.admit, l.deliver, l.end}[l.random.IntN(5)]()
			pod := vm("asked", []string{"2", "3", "6", "8", "10"}[l.random.IntN(5)])
			info, d := nodeInfo(slices.Collect(mapsValues(l.known))...), remembered(l.view, pod)
			p := l.view.Predict(d, info)
			c := l.view.Case(pod, d, info, called)
			c.Dedicated, c.Count = true, nil
			e := explain.Outline(&c)
			verdicts[p.Decision.Verdict]++
			if e.Fits != (p.Decision.Verdict == admission.Admitted) || (e.Obstacle == explain.InFlight) != (p.Decision.Verdict == admission.Wait) {
				t.Fatalf("seed %d: predicted %s, explained %s %q", seed, p.Decision, e, e.Obstacle)
			}
			var taken cpuset.Set
			for _, neighbour := range c.Neighbours {
				if l.known[neighbour.Name] == nil || neighbour.Millicores != 1000*int64(neighbour.CPUs.Len())+200 && neighbour.InFlight == nil {
					t.Fatalf("seed %d: %+v is told to be there", seed, neighbour)
				}
				taken = taken.Union(neighbour.CPUs)
			}
			if c.Node.Shared.Union(taken) != l.empty.Shared || c.Node.Shared.Overlaps(taken) {
				t.Fatalf("seed %d: %s in the shared pool and %s taken", seed, c.Node.Shared, taken)
			}
		}
	}
	if verdicts[admission.Admitted] < 50 || verdicts[admission.Wait] < 50 || verdicts[admission.Refused] < 50 {
		t.Errorf("verdicts %v are too few to prove anything", verdicts)
	}
}

func TestCaseWhereNothingIsKnown(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*v1alpha1.NodeCPU)
		want   string
	}{
		"no report":     {nil, "has no CPU report (NodeCPU); does corepin-agent run there?"},
		"a newer one":   {func(nc *v1alpha1.NodeCPU) { nc.Status.Format = v1alpha1.FormatVersion + 1 }, "has a CPU report of a newer corepin: "},
		"a strange one": {func(nc *v1alpha1.NodeCPU) { nc.Status.SharedCPUs = "x" }, "has a CPU report that can't be read: "},
		"not exact":     {func(nc *v1alpha1.NodeCPU) { nc.Status.Conditions = nil }, "cannot be predicted: the report does not say whether it is exact"},
		"no manager":    {func(nc *v1alpha1.NodeCPU) { nc.Status.CPUManager = v1alpha1.CPUManager{Policy: "none"} }, "its kubelet gives no CPUs of their own to anyone: CPU manager policy none"},
	} {
		view := &View{}
		view.listed.Store(true)
		if test.change != nil {
			nc := nodeCPU(nil)
			test.change(nc)
			view.Set(Decode(object(t, nc)))
		}
		pod := vm("new", "2")
		c := view.Case(pod, demand(pod), nodeInfo(), func(*corev1.Pod) string { return "" })
		c.Dedicated, c.Count = true, nil
		if e := explain.Of(&c); e.Fits || !strings.HasPrefix(e.Facts, test.want) {
			t.Errorf("%s: fits %t, %q, want %q", name, e.Fits, e.Facts, test.want)
		}
	}
}
