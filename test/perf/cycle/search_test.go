// SPDX-License-Identifier: Apache-2.0

package cycle

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/verdict"
)

// searches are two schedulers that know the same nodes. One searches the best of all nodes, the other one lets kube-scheduler
// filter and score each of them. Only plugin DedicatedCPU scores.
type searches struct {
	t                  *testing.T
	allNodes, oneByOne *cluster
	random             *rand.Rand
	placed             []*corev1.Pod
}

func newSearches(t *testing.T, size int, seed uint64) *searches {
	t.Helper()
	const plugins = "\n    bind:\n"
	only := "\n    score:\n      disabled:\n      - name: \"*\"\n      enabled:\n      - name: DedicatedCPU\n        weight: 26" + plugins
	all, err := ShippedConfig(plugins, only)
	if err != nil {
		t.Fatal(err)
	}
	each, err := ShippedConfig(plugins, only, "search: AllNodes", "search: Sample",
		"- schedulerName: corepin\n", "- schedulerName: corepin\n  percentageOfNodesToScore: 100\n")
	if err != nil {
		t.Fatal(err)
	}
	return &searches{t: t, allNodes: newCluster(t, all, size), oneByOne: newCluster(t, each, size), random: rand.New(rand.NewPCG(seed, 1))}
}

// place asks both for a node, and compares. Both then go by what the first one has chosen.
func (s *searches) place(pod *corev1.Pod) {
	s.t.Helper()
	ctx := s.t.Context()
	other := pod.DeepCopy()
	if err := s.oneByOne.Came(other); err != nil {
		s.t.Fatal(err)
	}
	want, err := s.oneByOne.Choose(ctx, other)
	if err != nil {
		s.t.Fatal(err)
	}
	before := map[string]admission.Node{}
	for name, node := range s.allNodes.nodes {
		before[name] = *node
	}
	bound, admitted, err := s.allNodes.Place(ctx, pod)
	if err != nil {
		s.t.Fatal(err)
	}
	if bound == nil {
		if want != "" {
			s.t.Fatalf("pod %s finds no node, and %s takes it", pod.Name, want)
		}
		return
	}
	host := bound.Spec.NodeName
	if want == "" || !admitted {
		s.t.Fatalf("pod %s goes to %s, admitted: %t; one by one, the nodes say %q", pod.Name, host, admitted, want)
	}
	if score := s.score(before, pod, host); score != 100 {
		s.t.Fatalf("pod %s goes to %s, which has score %d among all nodes; want one with 100", pod.Name, host, score)
	}
	s.placed = append(s.placed, bound)
	s.copy(bound, true)
}

// score is the plugin's score of a place among all nodes that take the pod.
func (s *searches) score(nodes map[string]admission.Node, pod *corev1.Pod, host string) int64 {
	s.t.Helper()
	demand := verdict.DemandOf(pod)
	unrequested := map[string]int64{}
	for _, other := range s.placed {
		asks := verdict.DemandOf(other)
		unrequested[other.Spec.NodeName] -= asks.Millicores()
	}
	var all []*int64
	var chosen *int64
	for name, node := range nodes {
		left := unrequested[name] + 1000*NodeCPUs
		decision := admission.Admit(&node, &demand.Pod)
		if decision.Verdict != admission.Admitted || left < demand.Millicores() || len(s.allNodes.objects[name].Spec.Taints) > 0 {
			continue
		}
		rating := scoring.Rate(scoring.LeastFragmentation, scoring.PlacementOf(&demand, &node, &decision, left))
		all = append(all, &rating)
		if name == host {
			chosen = &rating
		}
	}
	if chosen == nil {
		s.t.Fatalf("pod %s goes to %s, which would refuse it", pod.Name, host)
	}
	scoring.Normalize(all, scoring.DefaultRange)
	return *chosen
}

// copy tells the second cluster of a pod that has come to the first, or left it.
func (s *searches) copy(pod *corev1.Pod, came bool) {
	s.t.Helper()
	name := pod.Spec.NodeName
	*s.oneByOne.nodes[name] = *s.allNodes.nodes[name]
	s.oneByOne.held[name] = s.allNodes.held[name]
	tell := s.oneByOne.Gone
	if came {
		tell = s.oneByOne.Bound
	}
	if err := tell(s.t.Context(), pod.DeepCopy()); err != nil {
		s.t.Fatal(err)
	}
	if err := s.oneByOne.report(name); err != nil {
		s.t.Fatal(err)
	}
}

// end ends one of the VMs.
func (s *searches) end() {
	s.t.Helper()
	at := s.random.IntN(len(s.placed))
	pod := s.placed[at]
	s.placed[at] = s.placed[len(s.placed)-1]
	s.placed = s.placed[:len(s.placed)-1]
	if err := s.allNodes.End(s.t.Context(), pod); err != nil {
		s.t.Fatal(err)
	}
	s.copy(pod, false)
}

// fence keeps VMs off a node, or takes the fence away.
func (s *searches) fence() {
	name := fmt.Sprint("n", s.random.IntN(len(s.allNodes.objects)))
	var taints []corev1.Taint
	if len(s.allNodes.objects[name].Spec.Taints) == 0 {
		taints = []corev1.Taint{{Key: "fence", Effect: corev1.TaintEffectNoSchedule}}
	}
	for _, c := range []*cluster{s.allNodes, s.oneByOne} {
		node := c.objects[name].DeepCopy()
		node.Spec.Taints = taints
		c.ChangeNode(s.t.Context(), c.objects[name], node)
		c.objects[name] = node
	}
}

// The best of all nodes is found, and whatever node takes a VM is found, while VMs come and go and nodes change.
func TestTheBestNodeOfAll(t *testing.T) {
	for seed := range uint64(2) {
		s := newSearches(t, 120, seed)
		for i := range 800 {
			switch what := s.random.IntN(20); {
			case what == 0:
				s.fence()
			case what < 6 && len(s.placed) > 0:
				s.end()
			default:
				sizes := []int{2, 4, 6, 8, 12, 16, 24, 30}
				s.place(vm(fmt.Sprintf("vm-%d-%d", seed, i), sizes[s.random.IntN(len(sizes))]))
			}
		}
		t.Logf("seed %d: %d VMs run on %d nodes at the end", seed, len(s.placed), len(s.allNodes.objects))
	}
}
