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
	"corepin.dev/corepin/pkg/placement"
)

// dice makes up cases.
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

// world is a case with all that it was made of.
func (d dice) world(t *testing.T) *Case {
	n := d.node(t)
	c := &Case{NodeName: "n", Node: n, Dedicated: d.IntN(5) > 0, Unlabelled: d.IntN(12) == 0, Left: d.IntN(10) == 0}
	for i := range d.IntN(9) {
		p, _ := d.pod(fmt.Sprintf("held-%d", i), n)
		decision := admission.Admit(n, &p)
		if decision.Verdict != admission.Admitted || decision.Granted().IsEmpty() || n.Minor == 33 || !decision.NotFree.IsEmpty() {
			continue
		}
		after := n.Granting(decision.Grants)
		n.Shared = after.Shared
		c.Neighbours = append(c.Neighbours, Neighbour{Name: p.Name, CPUs: decision.Granted(), Millicores: 1000 * int64(decision.Granted().Len())})
	}
	for i := range max(0, d.IntN(8)-5) {
		p, _ := d.pod(fmt.Sprintf("coming-%d", i), n)
		c.Neighbours = append(c.Neighbours, Neighbour{Name: p.Name, InFlight: &p, Millicores: 1000})
	}
	var fractions []int64
	c.Pod, fractions = d.pod("new", n)
	if d.IntN(2) == 0 {
		requested := int64(100)
		for _, neighbour := range c.Neighbours {
			requested += neighbour.Millicores
		}
		c.Count = &Count{Allocatable: 1000 * int64(n.Topology.CPUs().Len()-n.Reserved.Len()), Requested: requested,
			Fractions: fractions, Overhead: pick(d, 0, int64(100))}
		if d.IntN(4) == 0 { // a little too few
			c.Count.Allocatable = requested + c.asked() - int64(1+d.IntN(300))
		}
	}
	if d.IntN(25) == 0 {
		c.Node, c.Unknown = nil, "has no CPU report"
	}
	if d.IntN(4) == 0 {
		c.Compute = c.Pod.Containers[len(c.Pod.Containers)-1].Name
		c.Guest = &placement.Guest{ThreadsPerCore: 1 + d.IntN(2), IsolateEmulator: d.IntN(4) == 0}
		c.Guest.VCPUs = max(c.Guest.ThreadsPerCore, c.Pod.Containers[len(c.Pod.Containers)-1].CPUs/c.Guest.ThreadsPerCore*c.Guest.ThreadsPerCore)
		if c.Guest.IsolateEmulator && c.Guest.VCPUs > c.Guest.ThreadsPerCore {
			c.Guest.VCPUs -= c.Guest.ThreadsPerCore
		}
	}
	return c
}

// changed makes the change of a hint by the words of Hint's documentation, in its own way.
func changed(t *testing.T, c *Case, h Hint) Case {
	t.Helper()
	after := *c
	if c.Node != nil {
		node := *c.Node
		after.Node = &node
	}
	if c.Count != nil {
		count := *c.Count
		count.Fractions = slices.Clone(count.Fractions)
		after.Count = &count
	}
	after.Pod.Containers = slices.Clone(c.Pod.Containers)
	at := slices.IndexFunc(after.Pod.Containers, func(k admission.Container) bool { return k.Name == h.Container })
	switch h.Kind {
	case AddLabel:
		after.Unlabelled = false
	case Ask:
		if c.Guest != nil && h.Container == c.Compute {
			guest := *c.Guest
			guest.VCPUs += h.CPUs - c.Pod.Containers[at].CPUs
			after.Guest = &guest
		}
		after.Pod.Containers[at].CPUs = h.CPUs
	case Share:
		after.Pod.Containers[at].CPUs = 0
	case Trim:
		after.Count.Overhead -= h.Millicores // anywhere: only the sum counts
	case Move:
		after.Neighbours = nil
		for _, neighbour := range c.Neighbours {
			if !slices.Contains(h.Pods, neighbour.Name) {
				after.Neighbours = append(after.Neighbours, neighbour)
				continue
			}
			after.Node.Shared = after.Node.Shared.Union(neighbour.CPUs)
			if after.Count != nil {
				after.Count.Requested -= neighbour.Millicores
			}
		}
	case Set:
		configure(t, after.Node, h)
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

// accepted asks those who decide, one by one: the label, the count, the kubelet, the VM.
func accepted(c *Case) error {
	if c.Dedicated && c.Unlabelled {
		return fmt.Errorf("the label is missing")
	}
	if c.Count != nil {
		apps, inits := c.Count.Overhead, int64(0)
		for i, container := range c.Pod.Containers {
			if request := int64(container.CPUs)*1000 + c.Count.Fractions[i]; container.Kind == admission.Init {
				inits = max(inits, apps+request)
			} else {
				apps += request
			}
		}
		if max(apps, inits)+c.Count.Requested > c.Count.Allocatable {
			return fmt.Errorf("%dm asked, %dm of %dm taken", max(apps, inits), c.Count.Requested, c.Count.Allocatable)
		}
	}
	if c.Node.CPUManager.Policy == "none" && !c.Dedicated {
		return nil
	}
	if why := c.Node.Inexact(c.Pod); why != "" || c.Node.CPUManager.Policy == "none" {
		return fmt.Errorf("not predictable: %s, %s", why, c.Node.CPUManager.Policy)
	}
	var inFlight []*admission.Pod
	for _, neighbour := range c.Neighbours {
		if neighbour.InFlight != nil {
			inFlight = append(inFlight, neighbour.InFlight)
		}
	}
	d := admission.AdmitAfter(c.Node, inFlight, &c.Pod)
	if d.Verdict != admission.Admitted {
		return fmt.Errorf("%s", d)
	}
	if c.Guest != nil && c.Guest.VCPUs%c.Guest.ThreadsPerCore != 0 {
		return fmt.Errorf("a guest core without one of its threads")
	}
	for _, grants := range append(d.Alternatives, d.Grants) {
		for _, grant := range grants {
			if c.Guest != nil && grant.Container == c.Compute {
				if err := placement.Fit(*c.Guest, grant.CPUs, c.Node.Topology); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
