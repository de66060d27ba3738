// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
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
		if d.IntN(2) == 0 {
			addResources(d, n, append(inFlight, p))
		}
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

// TestAdmitAmongAgainstEveryOrder is the same where pods leave beside those in flight.
func TestAdmitAmongAgainstEveryOrder(t *testing.T) {
	d := rand.New(rand.NewPCG(2, 0))
	seen := map[Verdict]int{}
	for range 1000 {
		n := newNode(t, twoNUMANodes, "", []string{topologymanager.PolicySingleNUMANode, topologymanager.PolicyRestricted, topologymanager.PolicyBestEffort, topologymanager.PolicyNone}[d.IntN(4)],
			topologymanager.ScopeContainer, "0")
		leaving := make([]Leaving, 1+d.IntN(2))
		if d.IntN(2) == 0 {
			leaving[0].Came = podAsking("passed", 1+d.IntN(5))
		}
		for id := range n.Shared.All() {
			switch holder := d.IntN(6); {
			case id == 0 || holder > len(leaving)+1 || holder == 0 && leaving[0].Came != nil:
			case holder >= len(leaving):
				n.Shared.Remove(id) // of a pod that stays
			default:
				n.Shared.Remove(id)
				leaving[holder].Grants = append(leaving[holder].Grants, Grant{Container: "compute", CPUs: cpuset.Of(id)})
			}
		}
		var inFlight []*Pod
		var after []uint64
		for i := range 1 + d.IntN(2) {
			inFlight = append(inFlight, podAsking(fmt.Sprintf("p%d", i), 1+d.IntN(5)))
			after = append(after, d.Uint64N(1<<len(leaving)))
		}
		p := podAsking("new", 2+d.IntN(6)*(1+d.IntN(4)))
		got, want := AdmitAmong(n, inFlight, p, leaving, after), amongByHand(n, inFlight, p, leaving, after)
		if got.Verdict != want.Verdict || got.Shared != want.Shared || !slices.Equal(got.Grants, want.Grants) {
			t.Fatalf("%s\nin flight %v after %b, leaving %v, new %v: got %s, shared %s; want %s, shared %s", n, inFlight, after, leaving, p, got, got.Shared, want, want.Shared)
		}
		seen[got.Verdict]++
	}
	for _, verdict := range []Verdict{Admitted, Refused, Wait} {
		if seen[verdict] < 50 {
			t.Errorf("verdict %s was met %d times only", verdict, seen[verdict])
		}
	}
}

// However many have left, and whatever must come after them, there is an answer after a bounded number of steps.
func TestAdmitAmongIsBounded(t *testing.T) {
	n := newNode(t, twoNUMANodes, "", topologymanager.PolicySingleNUMANode, topologymanager.ScopeContainer, "0")
	for _, came := range []*Pod{nil, podAsking("passed", 1)} {
		leaving := make([]Leaving, 28)
		for i := range leaving {
			leaving[i].Came = came
		}
		if came == nil {
			leaving[0].Grants = []Grant{{Container: "compute", CPUs: cpuset.Of(1)}}
			n.Shared.Remove(1)
		}
		o := orders{node: n, pods: []*Pod{podAsking("a", 2), podAsking("new", 2)}, leaving: leaving, after: []uint64{1<<27 - 1, 1<<28 - 1}}
		if got := o.tryAll(); got.Verdict != Wait || o.admissions > 2*maxAdmissions {
			t.Errorf("%s after %d steps", got, o.admissions)
		}
	}
}

// traffic are the steps of an order that are no admissions, in the guise of pods: the pods that leave, and those that come before.
type traffic struct {
	leaves, comes map[*Pod]*Leaving
}

// amongByHand is byHand where each of leaving is one more step of an order, or two if it comes as well.
func amongByHand(n *Node, inFlight []*Pod, p *Pod, leaving []Leaving, after []uint64) Decision {
	also := traffic{leaves: map[*Pod]*Leaving{}, comes: map[*Pod]*Leaving{}}
	steps := append(slices.Clone(inFlight), p)
	var leavers []*Pod
	for i := range leaving {
		leaver := &Pod{Name: fmt.Sprintf("leaver%d", i)}
		leavers = append(leavers, leaver)
		also.leaves[leaver] = &leaving[i]
		steps = append(steps, leaver)
		if leaving[i].Came != nil {
			comer := &Pod{Name: fmt.Sprintf("comer%d", i)}
			also.comes[comer] = &leaving[i]
			steps = append(steps, comer)
		}
	}
	allowed := func(order []*Pod) bool {
		for k, leaver := range leavers {
			left := slices.Index(order, leaver)
			for i, pod := range order {
				at := slices.Index(inFlight, pod)
				must := pod == p || at >= 0 && after[at]>>k&1 != 0
				if must && left > i || also.comes[pod] == &leaving[k] && left < i {
					return false
				}
			}
		}
		return true
	}
	orders := slices.DeleteFunc(permutations(steps), func(order []*Pod) bool { return !allowed(order) })
	return judgedByHand(n, orders, p, also)
}

func byHand(n *Node, inFlight []*Pod, p *Pod) Decision {
	exclusive := slices.DeleteFunc(slices.Clone(inFlight), func(pod *Pod) bool { return !n.Decides(pod) })
	return judgedByHand(n, permutations(append(exclusive, p)), p, traffic{})
}

// judgedByHand is what all orders together say of p.
func judgedByHand(n *Node, orders [][]*Pod, p *Pod, also traffic) Decision {
	var all []Decision // of p, in every order
	var shared cpuset.Set
	harmed := false
	unsure := false
	for at, order := range orders {
		var mine Decision
		with, without := admitted(n, order, nil, also), admitted(n, order, p, also)
		for pod, d := range with.decisions {
			if pod == p {
				mine = d
			} else if d.Verdict != Admitted && without.decisions[pod].Verdict == Admitted {
				harmed = true
			}
		}
		all = append(all, mine)
		if at == 0 {
			shared = with.node.Shared
		}
		shared = shared.Intersect(with.node.Shared)
		unsure = unsure || with.unsure || without.unsure
	}
	yes := len(slices.DeleteFunc(slices.Clone(all), func(d Decision) bool { return d.Verdict != Admitted }))
	switch {
	case unsure:
		return Decision{Verdict: Wait, Shared: shared}
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
	node      Node
	unsure    bool // a pod asked for devices of which only the kubelet knows which are free
}

// admitted admits the pods one after the other, except for one, beside the traffic.
func admitted(n *Node, order []*Pod, except *Pod, also traffic) ending {
	so := ending{decisions: map[*Pod]Decision{}, node: *n}
	passing := map[*Leaving]Decision{}
	for _, pod := range order {
		if pod == except {
			continue
		}
		comer := also.comes[pod]
		if comer != nil {
			passing[comer], so.node = so.node.Admitting(comer.Came)
			continue
		}
		leaver := also.leaves[pod]
		if leaver != nil {
			came := passing[leaver]
			so.node = so.node.Releasing(slices.Concat(leaver.Grants, came.Grants), &Held{})
			continue
		}
		so.unsure = so.unsure || so.node.uncertain(pod, so.node.interestsOf(pod)) != ""
		so.decisions[pod], so.node = so.node.Admitting(pod)
	}
	return so
}

// addResources gives a node memory and devices, and pods something of them.
func addResources(d *rand.Rand, n *Node, pods []*Pod) {
	const gib = 1 << 30
	n.MemoryManager = memorymanager.PolicyStatic
	n.Memory = &memorymanager.State{Types: []string{"memory"}}
	groups := []devicemanager.Group{}
	for i := range n.Topology.NUMANodes() {
		free := uint64(d.IntN(16)) * gib
		n.Memory.NUMANodes = append(n.Memory.NUMANodes, memorymanager.NUMANode{Group: 1 << i,
			Memory: []memorymanager.Amount{{Total: 16 * gib, Allocatable: 16 * gib, Free: free, Reserved: 16*gib - free}}})
		groups = append(groups, devicemanager.Group{NUMANodes: 1 << i, Devices: 4, Healthy: 4, Free: d.IntN(5)})
	}
	n.Devices = &devicemanager.State{Resources: []devicemanager.Resource{{Name: "example.com/nic", Groups: groups}}}
	for _, pod := range pods {
		for i := range pod.Containers {
			c := &pod.Containers[i]
			c.Memory = []memorymanager.Quantity{{Type: "memory", Bytes: uint64(1+d.IntN(8)) * gib}}
			c.Kind = App // An init container would give its memory back at any time.
			if d.IntN(2) == 0 {
				c.Devices = []devicemanager.Request{{Resource: "example.com/nic", Count: 1 + d.IntN(2)}}
			}
		}
	}
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
