package admission

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// TestAdmitAfterAgainstEveryOrder holds AdmitAfter, which no kubelet has, to its definition: a plain computation of each
// order, with and without the new pod.
func TestAdmitAfterAgainstEveryOrder(t *testing.T) {
	d := rand.New(rand.NewPCG(1, 0))
	seen := map[Verdict]int{}
	for range 600 {
		n := newNode(t, twoNUMANodes, "", []string{topologymanager.PolicySingleNUMANode, topologymanager.PolicyRestricted, topologymanager.PolicyBestEffort, topologymanager.PolicyNone}[d.IntN(4)],
			topologymanager.ScopeContainer, "0")
		for id := range n.Shared.All() {
			if id != 0 && d.IntN(3) == 0 {
				n.Shared.Remove(id)
			}
		}
		var inFlight []*Pod
		for i := range 1 + d.IntN(3) {
			pod := podAsking(fmt.Sprintf("p%d", i), d.IntN(6))
			if d.IntN(4) == 0 {
				pod.Containers = append([]Container{{Name: "prepare", Kind: Init, CPUs: 1 + d.IntN(4)}}, pod.Containers...)
			}
			inFlight = append(inFlight, pod)
		}
		p := podAsking("new", 1+d.IntN(6)*(1+d.IntN(4)))
		got, want := AdmitAfter(n, inFlight, p), byHand(n, inFlight, p)
		if got.Verdict != want.Verdict || got.Shared != want.Shared || !slices.Equal(got.Grants, want.Grants) {
			t.Fatalf("%s\nin flight %v, new %v: got %s, shared %s; want %s, shared %s", n, inFlight, p, got, got.Shared, want, want.Shared)
		}
		seen[got.Verdict]++
	}
	for _, verdict := range []Verdict{Admitted, Refused, Wait} {
		if seen[verdict] < 50 {
			t.Errorf("verdict %s was met %d times only", verdict, seen[verdict])
		}
	}
}

func byHand(n *Node, inFlight []*Pod, p *Pod) Decision {
	exclusive := slices.DeleteFunc(slices.Clone(inFlight), func(pod *Pod) bool { return !pod.Exclusive() })
	var all []Decision // of p, in every order
	var shared cpuset.Set
	harmed := false
	for at, order := range permutations(append(exclusive, p)) {
		var mine Decision
		with, without := admitted(n, order, nil), admitted(n, order, p)
		for pod, d := range with.decisions {
			if pod == p {
				mine = d
			} else if d.Verdict != Admitted && without.decisions[pod].Verdict == Admitted {
				harmed = true
			}
		}
		all = append(all, mine)
		if at == 0 {
			shared = with.shared
		}
		shared = shared.Intersect(with.shared)
	}
	yes := len(slices.DeleteFunc(slices.Clone(all), func(d Decision) bool { return d.Verdict != Admitted }))
	switch {
	case yes == 0:
		return Decision{Verdict: Refused, Shared: shared}
	case yes < len(all) || harmed:
		return Decision{Verdict: Wait, Shared: shared}
	case slices.ContainsFunc(all, func(d Decision) bool { return !slices.Equal(d.Grants, all[0].Grants) }):
		return Decision{Verdict: Admitted, Shared: shared}
	}
	return Decision{Verdict: Admitted, Grants: all[0].Grants, Shared: shared}
}

// ending is how things stand after an order.
type ending struct {
	decisions map[*Pod]Decision
	shared    cpuset.Set
}

// admitted admits the pods one after the other, except for one.
func admitted(n *Node, order []*Pod, except *Pod) ending {
	so := ending{map[*Pod]Decision{}, n.Shared}
	for _, pod := range order {
		if pod == except {
			continue
		}
		node := *n
		node.Shared = so.shared
		so.decisions[pod] = Admit(&node, pod)
		so.shared = so.decisions[pod].Shared
	}
	return so
}

func permutations(pods []*Pod) [][]*Pod {
	if len(pods) == 0 {
		return [][]*Pod{nil}
	}
	var all [][]*Pod
	for i, first := range pods {
		rest := slices.Delete(slices.Clone(pods), i, i+1)
		for _, order := range permutations(rest) {
			all = append(all, append([]*Pod{first}, order...))
		}
	}
	return all
}
