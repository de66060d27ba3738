// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/scheduler/config"
)

// field is nodes to place VMs on.
type field struct {
	*fixture
	options map[string]map[string]string // of the CPU manager, by node
	granted map[string]map[string]string // by node and pod
	pods    map[string][]*corev1.Pod
	plenty  bool // of CPU to request, so that sidecars do not count
}

func newField(strategy config.ScoringStrategy, options map[string]map[string]string) *field {
	f := &field{fixture: newFixture(config.DedicatedCPUArgs{ScoringStrategy: strategy}), options: options,
		granted: map[string]map[string]string{}, pods: map[string][]*corev1.Pod{}}
	for name := range options {
		f.granted[name] = map[string]string{}
	}
	return f
}

// info is a node as kube-scheduler would have it.
func (f *field) info(t testing.TB, name string) fwk.NodeInfo {
	t.Helper()
	f.report(t, name, f.granted[name], func(s *v1alpha1.NodeCPUStatus) { s.CPUManager.Options = f.options[name] })
	info := f.node(t, name, f.pods[name]...)
	if f.plenty {
		node := info.Node().DeepCopy()
		node.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("64")
		info.SetNode(node)
	}
	return info
}

// rate gives the rating of a node for a pod, and the CPUs that the pod would get; ok is false if it fits not.
func (f *field) rate(t testing.TB, pod *corev1.Pod, name string) (rating int64, cpus cpuset.Set, ok bool) {
	t.Helper()
	info, state := f.info(t, name), f.preFilter(t, pod)
	if !f.Filter(t.Context(), state, pod, info).IsSuccess() {
		return 0, cpus, false
	}
	if status := f.PreScore(t.Context(), state, pod, nil); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	rating, status := f.Score(t.Context(), state, pod, info)
	if !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	prediction := readCycle(state).predict(info)
	return rating, prediction.Decision.Granted(), true
}

// place puts a VM on the best node, the first of them by name.
func (f *field) place(t testing.TB, name, cpus string) {
	t.Helper()
	pod := launcherPod(name, cpus)
	var best, on string
	var highest int64
	for _, node := range slices.Sorted(maps.Keys(f.options)) {
		if rating, granted, ok := f.rate(t, pod, node); ok && (on == "" || rating > highest) {
			on, best, highest = node, granted.String(), rating
		}
	}
	if on == "" {
		t.Fatalf("no node can take VM %s", name)
	}
	f.granted[on][name], f.pods[on] = best, append(f.pods[on], pod)
}

// picture draws a node core by core.
func (f *field) picture(t testing.TB, name string) string {
	t.Helper()
	var taken cpuset.Set
	for _, list := range f.granted[name] {
		cpus, err := cpuset.Parse(list)
		if err != nil {
			t.Fatal(err)
		}
		taken = taken.Union(cpus)
	}
	var numas []string
	for _, numa := range cputopology.MustParse(twoNUMA).NUMANodes() {
		var cores []string
		for _, core := range cputopology.MustParse(twoNUMA).Cores() {
			if core.NUMANode == numa.ID && core.ID < 16 { // the cores above are reserved
				n := core.CPUs.Intersect(taken).Len()
				cores = append(cores, strings.Repeat("#", n)+strings.Repeat(".", core.CPUs.Len()-n))
			}
		}
		numas = append(numas, strings.Join(cores, " "))
	}
	return strings.Join(numas, "  ")
}

var wholeCores = map[string]string{"full-pcpus-only": "true"}

// The picture in the documentation of the argument.
func TestScoringStrategies(t *testing.T) {
	for strategy, want := range map[config.ScoringStrategy][2]string{
		config.LeastFragmentation: {".. .. .. ..  .. .. .. ..", "## ## ## ..  .. .. .. .."},
		config.MostAllocated:      {"## ## ## ..  .. .. .. ..", ".. .. .. ..  .. .. .. .."},
		config.MostFree:           {"## ## .. ..  .. .. .. ..", "## .. .. ..  .. .. .. .."},
	} {
		f := newField(strategy, map[string]map[string]string{"a": nil, "b": wholeCores})
		f.place(t, "first", "4")
		f.place(t, "second", "2")
		if got := [2]string{f.picture(t, "a"), f.picture(t, "b")}; got != want {
			t.Errorf("%s leaves behind %q, want %q", strategy, got, want)
		}
	}
}

func TestLeastFragmentation(t *testing.T) {
	for name, test := range map[string]struct {
		options       map[string]string
		cpus          string
		better, worse map[string]string // what is granted on the two nodes, by pod
	}{
		"fills a NUMA node that is not whole":    {wholeCores, "4", map[string]string{"a": "0-1,8-9"}, nil},
		"fills up what is left":                  {wholeCores, "2", map[string]string{"a": "0-2,8-10"}, map[string]string{"a": "0-1,8-9"}},
		"fills a core that is split":             {nil, "1", map[string]string{"a": "0-1,8"}, map[string]string{"a": "0,8", "b": "4,12"}},
		"keeps the last place for a big VM":      {wholeCores, "2", map[string]string{"a": "0-3,8-11", "b": "4,12"}, map[string]string{"a": "0-3,8-11"}},
		"takes of two whole NUMA nodes the last": {wholeCores, "8", map[string]string{"a": "0-3,8-11"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newField(config.LeastFragmentation, map[string]map[string]string{"n1": test.options, "n2": test.options})
			f.plenty = true
			for node, granted := range map[string]map[string]string{"n1": test.better, "n2": test.worse} {
				for pod, list := range granted {
					cpus, err := cpuset.Parse(list)
					if err != nil {
						t.Fatal(err)
					}
					f.granted[node][pod] = list
					f.pods[node] = append(f.pods[node], launcherPod(pod, fmt.Sprint(cpus.Len())))
				}
			}
			better, _, _ := f.rate(t, launcherPod("new", test.cpus), "n1")
			worse, _, _ := f.rate(t, launcherPod("new", test.cpus), "n2")
			if name == "takes of two whole NUMA nodes the last" {
				// Nothing but its own CPUs is lost on either.
				if better != worse {
					t.Errorf("ratings %d and %d, want the same", better, worse)
				}
				return
			}
			if better <= worse {
				t.Errorf("%v is rated %d, %v %d", test.better, better, test.worse, worse)
			}
		})
	}
}

// A node whose sidecars have used up what can be requested has no room, whatever CPUs are free.
func TestRoomCountsSidecars(t *testing.T) {
	f := newField(config.MostFree, map[string]map[string]string{"n1": wholeCores, "n2": wholeCores})
	free, _, _ := f.rate(t, launcherPod("new", "2"), "n1")
	sidecars := guaranteedPod("sidecars", "1")
	sidecars.Spec.Containers = []corev1.Container{container("a", "5500m", "5500m")}
	f.pods["n2"] = []*corev1.Pod{sidecars}
	used, _, _ := f.rate(t, launcherPod("new", "2"), "n2")
	if want := int64(1_000_000 * 13 / 16); free != want {
		t.Errorf("with one sidecar the share that is free is %d, want %d", free, want)
	}
	if want := int64(1_000_000 * 8 / 16); used != want {
		t.Errorf("with sidecars of 5700m the share that is free is %d, want %d", used, want)
	}
}

// At the shipped weight an estimated node must lose against an exact one whatever the stock plugins say;
// scheduler/main_test.go holds the weight to it.
func TestEstimatedNodesRateLowest(t *testing.T) {
	b, pod := newFixture(config.DedicatedCPUArgs{NodesWithoutExactReport: config.Estimate}), launcherPod("new", "4")
	b.report(t, "n1", nil, func(s *v1alpha1.NodeCPUStatus) { s.Conditions = nil })
	info, state := b.node(t, "n1"), b.preFilter(t, pod)
	if status := b.Filter(t.Context(), state, pod, info); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	if rating, status := b.Score(t.Context(), state, pod, info); rating != scoring.Estimated || !status.IsSuccess() {
		t.Errorf("rating %d, %s", rating, status.Message())
	}
}

// A node that is not heard from is estimated although its report is exact, and comes after every node that is.
func TestSilentNodesComeLast(t *testing.T) {
	b, pod := newFixture(config.DedicatedCPUArgs{}), launcherPod("new", "4")
	for _, name := range []string{"exact", "inexact", "silent"} {
		b.report(t, name, nil, func(s *v1alpha1.NodeCPUStatus) {
			if name == "inexact" {
				s.Conditions = nil
			}
		})
	}
	b.view.Silence("silent", time.Unix(1000, 0))
	scores := map[string]int64{}
	rate := func() {
		var ratings []*int64
		for _, name := range []string{"exact", "inexact", "silent"} {
			state := b.preFilter(t, pod)
			info := b.node(t, name)
			if status := b.Filter(t.Context(), state, pod, info); !status.IsSuccess() {
				t.Fatalf("%s: %s", name, status.Message())
			}
			rating, _ := b.Score(t.Context(), state, pod, info)
			ratings = append(ratings, &rating)
		}
		scoring.Normalize(ratings, b.args.ScoreRange)
		for i, name := range []string{"exact", "inexact", "silent"} {
			scores[name] = *ratings[i]
		}
	}
	rate()
	if want := map[string]int64{"exact": 100, "inexact": 37, "silent": 0}; !maps.Equal(scores, want) {
		t.Errorf("scores %v, want %v", scores, want)
	}
	b.view.Hear("silent")
	rate()
	if want := map[string]int64{"exact": 100, "inexact": 37, "silent": 100}; !maps.Equal(scores, want) {
		t.Errorf("when it is heard from again: scores %v, want %v", scores, want)
	}
}

// The fuller node wins by the strategy, unless a restart of its kubelet would then lose VMs and the argument says that this counts.
func TestRestartSafetyPreferIsAScore(t *testing.T) {
	for safety, first := range map[config.RestartSafety]string{config.RestartIgnore: "half", config.RestartPrefer: "empty"} {
		f := newField(config.MostAllocated, map[string]map[string]string{"half": wholeCores, "empty": wholeCores})
		f.args.RestartSafety = safety
		f.argsKey = argsKey(&f.args)
		f.plenty = true
		f.granted["half"]["a"] = "0-2,8-10"
		f.pods["half"] = []*corev1.Pod{launcherPod("a", "6")}
		half, _, halfFits := f.rate(t, launcherPod("new", "6"), "half")
		empty, _, emptyFits := f.rate(t, launcherPod("new", "6"), "empty")
		if !halfFits || !emptyFits {
			t.Fatalf("%s: both nodes can take the VM", safety)
		}
		scoring.Normalize([]*int64{&half, &empty}, f.args.ScoreRange)
		if got := map[bool]string{true: "half", false: "empty"}[half > empty]; got != first {
			t.Errorf("%s: the node that is %s comes first, with scores %d and %d; want %s", safety, got, half, empty, first)
		}
	}
}

// What is remembered is what would be computed, whatever came in between.
func TestRatingsAreThoseOfTheNodeAsItIs(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 1))
	f := newField(config.LeastFragmentation, map[string]map[string]string{"n1": nil})
	for step := range 200 {
		switch dice.IntN(3) {
		case 0:
			name := fmt.Sprint("vm-", step)
			pod := launcherPod(name, fmt.Sprint(1+dice.IntN(4)))
			if _, cpus, ok := f.rate(t, pod, "n1"); ok && !cpus.IsEmpty() {
				f.pods["n1"], f.granted["n1"][name] = append(f.pods["n1"], pod), cpus.String()
			}
		case 1:
			if n := len(f.pods["n1"]); n > 0 {
				gone := f.pods["n1"][dice.IntN(n)]
				f.pods["n1"] = slices.DeleteFunc(f.pods["n1"], func(pod *corev1.Pod) bool { return pod == gone })
				delete(f.granted["n1"], gone.Name)
			}
		}
		pod := launcherPod("new", fmt.Sprint(1+dice.IntN(4)))
		info, state := f.info(t, "n1"), f.preFilter(t, pod)
		if !f.Filter(t.Context(), state, pod, info).IsSuccess() {
			continue
		}
		f.PreScore(t.Context(), state, pod, nil)
		for range 2 {
			got, _ := f.Score(t.Context(), state, pod, info)
			c := readCycle(state)
			if want := scoring.Rate(config.LeastFragmentation, placementOf(c.Demand, c.predict(info), info)); got != want {
				t.Fatalf("step %d: remembered %d, computed %d", step, got, want)
			}
		}
	}
}

// BenchmarkScore is a node that has not changed; BenchmarkRating is one that has, a machine of 128 CPUs.
func BenchmarkScore(b *testing.B) {
	f, pod := newField(config.LeastFragmentation, map[string]map[string]string{"n1": wholeCores}), launcherPod("new", "4")
	info, state := f.info(b, "n1"), f.preFilter(b, pod)
	f.PreScore(b.Context(), state, pod, nil)
	for b.Loop() {
		f.Score(b.Context(), state, pod, info)
	}
}

func BenchmarkRating(b *testing.B) {
	f, pod := newField(config.LeastFragmentation, map[string]map[string]string{"n1": wholeCores}), launcherPod("new", "4")
	f.report(b, "n1", nil, func(s *v1alpha1.NodeCPUStatus) {
		machine := cputopology.MustParse("2 sockets x 1 numa x 32 cores x 2 threads")
		nodereport.SetTopology(s, machine)
		s.SharedCPUs = machine.CPUs().String()
	})
	info, state := f.node(b, "n1"), f.preFilter(b, pod)
	d := readCycle(state).Demand
	prediction := readCycle(state).predict(info)
	for b.Loop() {
		scoring.Rate(config.LeastFragmentation, placementOf(d, prediction, info))
	}
}
