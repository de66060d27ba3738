// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/verdict"
)

// dice makes up questions.
type dice struct{ *rand.Rand }

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

func (d dice) node(t *testing.T) *admission.Node {
	machine := cputopology.MustParse(pick(d,
		"1 sockets x 1 numa x 4 cores x 2 threads", "2 sockets x 1 numa x 4 cores x 2 threads", "1 sockets x 1 numa x 8 cores x 1 threads",
		"2 sockets x 2 numa x 4 cores x 2 threads", "2 sockets x 1 numa x 16 cores x 2 threads", "1 sockets x 2 numa x 3 cores x 4 threads",
		"s0 n0 u0: 0,4 1,5; s0 n1 u1: 2,6 3; s1 n2 u2: 7 8 9,10"))
	n := &admission.Node{Topology: machine, Minor: pick(d, 34, 36, 37),
		CPUManager: cpumanager.Config{Policy: pick(d, "static", "static", "static", "static", "static", "none")},
		TopologyManager: topologymanager.Config{Scope: pick(d, topologymanager.ScopeContainer, topologymanager.ScopePod),
			Policy: pick(d, topologymanager.PolicyNone, topologymanager.PolicyBestEffort, topologymanager.PolicyRestricted, topologymanager.PolicySingleNUMANode)}}
	if n.CPUManager.Policy == "static" {
		n.CPUManager.Options = cpumanager.Options{FullPCPUsOnly: d.IntN(2) == 0, StrictCPUReservation: d.IntN(4) == 0,
			DistributeCPUsAcrossNUMA: d.IntN(4) == 0}
	}
	for range d.IntN(4) {
		n.Reserved.Add(pick(d, machine.CPUs().List()...))
	}
	n.Shared = n.Empty().Shared
	if d.IntN(30) == 0 {
		n.Minor = 33
	}
	if n.Minor > 33 && n.Inexact(admission.Pod{Guaranteed: true, Containers: []admission.Container{{CPUs: 1}}}) != "" {
		t.Fatalf("made up a node that cannot be predicted: %s", n)
	}
	return n
}

func (d dice) pod(name string, n *admission.Node) (admission.Pod, []int64) {
	p := admission.Pod{Name: name, Guaranteed: true}
	fractions := []int64{}
	kinds := []admission.Kind{admission.App}
	for d.IntN(3) == 0 {
		kinds = append(kinds, pick(d, admission.App, admission.Init, admission.Sidecar))
	}
	slices.SortStableFunc(kinds, func(a, b admission.Kind) int { return min(int(b), 1) - min(int(a), 1) })
	for i, kind := range kinds {
		c := admission.Container{Name: fmt.Sprintf("c%d", i), Kind: kind, CPUs: 1 + d.IntN(n.Topology.CPUs().Len()*2/3)}
		fraction := int64(0)
		if len(kinds) > 1 && d.IntN(2) == 0 {
			c.CPUs, fraction = 0, int64(1+d.IntN(900))
		}
		p.Containers, fractions = append(p.Containers, c), append(fractions, fraction)
	}
	if !p.Exclusive() {
		p.Containers[0].CPUs, fractions[0] = 2, 0
	}
	return p, fractions
}

// world is a question with all that it is made of.
func (d dice) world(t *testing.T) *question {
	n := d.node(t)
	q := &question{node: verdict.Node{Name: "n", Kubelet: n, State: nodereport.Exact, Reported: n, Labelled: d.IntN(12) > 0}}
	if d.IntN(10) == 0 {
		q.node.Left = []verdict.Leaver{{UID: "left"}}
	}
	if n.CPUManager.Policy != "static" {
		q.node.State = nodereport.NoCPUManager
	}
	q.demand.Dedicated = d.IntN(5) > 0
	q.demand.NeedsLabel = q.demand.Dedicated
	for i := range d.IntN(9) {
		p, _ := d.pod(fmt.Sprintf("held-%d", i), n)
		decision := admission.Admit(n, &p)
		if decision.Verdict != admission.Admitted || decision.Granted().IsEmpty() || n.Minor == 33 || !decision.NotFree.IsEmpty() {
			continue
		}
		n.Shared = decision.Shared
		q.node.Pods = append(q.node.Pods, verdict.Pod{Name: p.Name, Asks: &p, Grants: decision.Grants, Millicores: 1000 * int64(decision.Granted().Len())})
	}
	for i := range max(0, d.IntN(8)-5) {
		p, _ := d.pod(fmt.Sprintf("coming-%d", i), n)
		q.node.Pods = append(q.node.Pods, verdict.Pod{Name: p.Name, Asks: &p, InFlight: true, Millicores: 1000})
	}
	q.demand.Pod, q.demand.Fractions = d.pod("new", n)
	if d.IntN(2) == 0 {
		q.node.Amounts = d.amounts(q)
	}
	if d.IntN(25) == 0 {
		q.node.Kubelet = nil
		q.node.State = nodereport.Missing
	}
	if d.IntN(4) == 0 {
		d.addGuest(&q.demand)
	}
	return q
}

func (d dice) amounts(q *question) verdict.Amounts {
	a := verdict.Amounts{Requested: 100, Counting: verdict.CountedAlways}
	for _, pod := range q.node.Pods {
		a.Requested += pod.Millicores
	}
	q.demand.Overhead = pick(d, 0, int64(100))
	a.Allocatable = 1000 * int64(q.node.Kubelet.Topology.CPUs().Len()-q.node.Kubelet.Reserved.Len())
	if d.IntN(4) == 0 { // a little too few
		a.Allocatable = a.Requested + q.demand.Millicores() - int64(1+d.IntN(300))
	}
	return a
}

func (d dice) addGuest(demand *verdict.Demand) {
	last := demand.Pod.Containers[len(demand.Pod.Containers)-1]
	demand.Compute = last.Name
	g := &placement.Guest{ThreadsPerCore: 1 + d.IntN(2), IsolateEmulator: d.IntN(4) == 0}
	g.VCPUs = max(g.ThreadsPerCore, last.CPUs/g.ThreadsPerCore*g.ThreadsPerCore)
	if g.IsolateEmulator && g.VCPUs > g.ThreadsPerCore {
		g.VCPUs -= g.ThreadsPerCore
	}
	demand.Guest = g
}

// changed makes the change of a hint by the words of Hint's documentation, in its own way.
func changed(t *testing.T, q *question, h Hint) question {
	t.Helper()
	after := *q
	if q.node.Kubelet != nil {
		node := *q.node.Kubelet
		after.node.Kubelet = &node
	}
	containers := slices.Clone(q.demand.Pod.Containers)
	after.demand.Pod.Containers = containers
	at := slices.IndexFunc(containers, func(k admission.Container) bool { return k.Name == h.Container })
	switch h.Kind {
	case AddLabel:
		after.node.Labelled = true
	case Ask:
		if q.demand.Guest != nil && h.Container == q.demand.Compute {
			guest := *q.demand.Guest
			guest.VCPUs += h.CPUs - containers[at].CPUs
			after.demand.Guest = &guest
		}
		containers[at].CPUs = h.CPUs
	case Share:
		containers[at].CPUs = 0
	case Trim:
		after.demand.Overhead -= h.Millicores // anywhere: only the sum counts
	case Move:
		after.node.Pods = nil
		for _, pod := range q.node.Pods {
			if !slices.Contains(h.Pods, pod.Name) {
				after.node.Pods = append(after.node.Pods, pod)
				continue
			}
			after.node.Kubelet.Shared = after.node.Kubelet.Shared.Union(pod.CPUs())
			after.node.Amounts.Requested -= pod.Millicores
		}
	case Set:
		configure(t, after.node.Kubelet, h)
		if h.Setting == "cpuManagerPolicy" {
			after.node.State = nodereport.Exact
		}
	default:
		t.Fatalf("a hint of no kind: %+v", h)
	}
	return after
}

func configure(t *testing.T, n *admission.Node, h Hint) {
	t.Helper()
	switch h.Setting {
	case "topologyManagerPolicy":
		n.TopologyManager.Policy = h.Value
	case "topologyManagerScope":
		n.TopologyManager.Scope = h.Value
	case "full-pcpus-only":
		n.CPUManager.Options.FullPCPUsOnly = h.Value != "false"
	case "cpuManagerPolicy":
		n.CPUManager.Policy = h.Value
		*n = n.Empty()
	case "reservedSystemCPUs":
		cpus, err := cpuset.Parse(h.Value)
		if err != nil {
			t.Fatal(err)
		}
		if n.CPUManager.Options.StrictCPUReservation {
			n.Shared = n.Shared.Union(n.Reserved).Minus(cpus)
		}
		n.Reserved = cpus
	default:
		t.Fatalf("a hint of no setting: %+v", h)
	}
}

// accepted asks each part that decides, one by one: the label, the count, the kubelet, the VM.
func accepted(q *question) error {
	if q.demand.Dedicated && !q.node.Labelled {
		return fmt.Errorf("the label is missing")
	}
	if q.node.Amounts.Counting != verdict.NotCounted {
		apps := q.demand.Overhead
		inits := int64(0)
		for i, container := range q.demand.Pod.Containers {
			if request := int64(container.CPUs)*1000 + q.demand.Fractions[i]; container.Kind == admission.Init {
				inits = max(inits, apps+request)
			} else {
				apps += request
			}
		}
		if max(apps, inits)+q.node.Amounts.Requested > q.node.Amounts.Allocatable {
			return fmt.Errorf("%dm asked, %dm of %dm taken", max(apps, inits), q.node.Amounts.Requested, q.node.Amounts.Allocatable)
		}
	}
	kubelet := q.node.Kubelet
	if kubelet.CPUManager.Policy == "none" && !q.demand.Dedicated {
		return nil
	}
	if why := kubelet.Inexact(q.demand.Pod); why != "" || kubelet.CPUManager.Policy == "none" {
		return fmt.Errorf("not predictable: %s, %s", why, kubelet.CPUManager.Policy)
	}
	var inFlight []*admission.Pod
	for _, pod := range q.node.Pods {
		if pod.InFlight {
			inFlight = append(inFlight, pod.Asks)
		}
	}
	d := admission.AdmitAfter(kubelet, inFlight, &q.demand.Pod)
	if d.Verdict != admission.Admitted {
		return fmt.Errorf("%s", d)
	}
	guest := q.demand.Guest
	if guest != nil && guest.VCPUs%guest.ThreadsPerCore != 0 {
		return fmt.Errorf("a guest core without one of its threads")
	}
	for _, grants := range append(d.Alternatives, d.Grants) {
		for _, grant := range grants {
			if guest != nil && grant.Container == q.demand.Compute {
				if err := placement.Fit(*guest, grant.CPUs, kubelet.Topology); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
