package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// Kind is the kind of a change, in one word.
type Kind string

// Kinds of hints. What else a Hint says stands with each.
const (
	AddLabel Kind = "label" // the node gets the label cpumanager=true
	Ask      Kind = "ask"   // Container asks for CPUs instead
	Trim     Kind = "trim"  // the containers in the shared pool ask for Millicores less
	Share    Kind = "share" // Container asks for a part of a CPU less, and so runs in the shared pool
	Move     Kind = "move"  // Pods leave the node
	Set      Kind = "set"   // the kubelet's Setting is Value
)

// Hint is a change after which the pod fits. Text reads well after "fits if".
type Hint struct {
	Kind       Kind     `json:"kind"`
	Container  string   `json:"container,omitempty"`
	CPUs       int      `json:"cpus,omitempty"`
	Millicores int64    `json:"millicores,omitempty"`
	Pods       []string `json:"pods,omitempty"`
	Setting    string   `json:"setting,omitempty"`
	Value      string   `json:"value,omitempty"`
	Text       string   `json:"text"`
}

// Bounds of the search; see the package comment.
const (
	mostMoved = 64 // neighbours that are tried
	mostPairs = 12 // neighbours that are tried in pairs
	mostTold  = 3  // alternatives of one kind that are told
	mostSizes = 64 // numbers of CPUs below what is asked
)

// hints are the changes after which the case fits.
func (c *Case) hints() []Hint {
	var hints []Hint
	if labelled := *c; c.Unlabelled {
		labelled.Unlabelled = false
		return append(hints, labelled.try(Hint{Kind: AddLabel, Text: "the node has that label"})...)
	}
	if !c.Pod.PodLevelResources {
		hints = append(hints, c.askingOtherwise()...)
		hints = append(hints, c.trimming()...)
		hints = append(hints, c.sharing()...)
	}
	hints = append(hints, c.moving()...)
	return append(hints, c.setting()...)
}

// fits tells whether the case fits, with the kubelet's word for it and not by count only.
func (c *Case) fits() bool { return c.outcome().obstacle == None && !c.inexactly() }

// try gives the hint if the case, which is with its change made, fits.
func (c *Case) try(h Hint) []Hint {
	if c.fits() {
		return []Hint{h}
	}
	return nil
}

// askingOtherwise are, for each container with CPUs of its own, the most CPUs below what it asks that fit, and
// the fewest above up to a core more, or up to where another NUMA node is needed in any case.
func (c *Case) askingOtherwise() []Hint {
	if c.inexactly() {
		return nil
	}
	var hints []Hint
	for i, container := range c.Pod.Containers {
		if container.CPUs == 0 {
			continue
		}
		for _, cpus := range c.below(container.CPUs) {
			if h := c.askingFor(i, cpus); h != nil {
				hints = append(hints, h...)
				break
			}
		}
		for _, cpus := range c.above(container.CPUs) {
			if h := c.askingFor(i, cpus); h != nil {
				hints = append(hints, h...)
				break
			}
		}
	}
	return hints
}

// below are numbers of CPUs less than those asked, downwards: from the most that are free and left by count,
// and from the most that are free on one NUMA node.
func (c *Case) below(cpus int) []int {
	free, widest := c.Node.Free(), 0
	if c.Node.CPUManager.Policy != cpumanager.PolicyStatic {
		free = c.Node.Topology.CPUs()
	}
	for _, numa := range c.Node.Topology.NUMANodes() {
		widest = max(widest, numa.CPUs.Intersect(free).Len())
	}
	most := min(cpus-1, free.Len(), cpus-int((c.missing()+999)/1000))
	var sizes []int
	for size := most; size > max(0, most-mostSizes); size-- {
		sizes = append(sizes, size)
	}
	last := most - len(sizes)
	for size := min(last, widest); size > max(0, min(last, widest)-mostSizes); size-- {
		sizes = append(sizes, size)
	}
	return sizes
}

// above are numbers of CPUs, a few more than those asked, that a rule may like better: a whole core, or one
// NUMA node and a core, for which a policy that wants few NUMA nodes takes two.
func (c *Case) above(cpus int) []int {
	threads := max(1, c.Node.Topology.ThreadsPerCore())
	var more []int
	if rest := cpus % threads; rest != 0 {
		more = append(more, cpus+threads-rest)
	}
	if c.Node.TopologyManager.Policy == topologymanager.PolicyRestricted {
		a := asked{cpus: cpus, node: c.Node}
		if few, capacity := a.fewest(); few > 0 {
			more = append(more, capacity+1, capacity+threads)
		}
	}
	return more
}

func (c *Case) askingFor(place, cpus int) []Hint {
	was := c.Pod.Containers[place]
	after, ok := c.asking(place, cpus)
	if !ok {
		return nil
	}
	change := count(was.CPUs-cpus, "CPU") + " fewer"
	if cpus > was.CPUs {
		change = count(cpus-was.CPUs, "CPU") + " more"
	}
	who := "the pod"
	if c.several() {
		who = "container " + was.Name
	}
	return after.try(Hint{Kind: Ask, Container: was.Name, CPUs: cpus,
		Text: fmt.Sprintf("%s asks for %s (%d instead of %d)", who, change, cpus, was.CPUs)})
}

// several tells whether more than one container asks for CPUs of its own.
func (c *Case) several() bool {
	own := 0
	for _, container := range c.Pod.Containers {
		own += min(container.CPUs, 1)
	}
	return own > 1
}

// trimming asks for less in the shared pool, where that is what the count lacks. Each container must go on
// asking for something.
func (c *Case) trimming() []Hint {
	missing := c.missing()
	if missing == 0 {
		return nil
	}
	after, count, left := *c, *c.Count, missing
	count.Fractions = slices.Clone(count.Fractions)
	for i, fraction := range count.Fractions {
		less := max(0, min(left, fraction-1))
		count.Fractions[i] -= less
		left -= less
	}
	after.Count = &count
	if left > 0 {
		return nil
	}
	return after.try(Hint{Kind: Trim, Millicores: missing,
		Text: fmt.Sprintf("its containers in the shared pool ask for %dm less", missing)})
}

// sharing leaves one container beside the largest one in the shared pool.
func (c *Case) sharing() []Hint {
	if !c.several() {
		return nil
	}
	largest := slices.MaxFunc(c.Pod.Containers, func(a, b admission.Container) int { return cmp.Compare(a.CPUs, b.CPUs) })
	var hints []Hint
	for i, container := range c.Pod.Containers {
		if container.CPUs == 0 || container.Name == largest.Name {
			continue
		}
		after, ok := c.asking(i, 0)
		if !ok {
			continue
		}
		if c.Count != nil {
			count := *c.Count
			count.Fractions = slices.Clone(count.Fractions)
			count.Fractions[i] = 1000*int64(container.CPUs) - 1
			after.Count = &count
		}
		hints = append(hints, after.try(Hint{Kind: Share, Container: container.Name,
			Text: fmt.Sprintf("container %s asks for a fraction instead of %s, and so runs in the shared pool",
				container.Name, count(container.CPUs, "CPU"))})...)
	}
	return hints
}

// moving lets one of the neighbours go, the smallest first; if no one helps, two; or all.
func (c *Case) moving() []Hint {
	order := make([]int, len(c.Neighbours))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(c.Neighbours[i].size(), c.Neighbours[j].size()), strings.Compare(c.Neighbours[i].Name, c.Neighbours[j].Name))
	})
	order = order[:min(len(order), mostMoved)]
	var hints []Hint
	for _, i := range order {
		if len(hints) < mostTold {
			hints = append(hints, c.movingAway(i)...)
		}
	}
	few := order[:min(len(order), mostPairs)]
	for j := range few {
		for i := range j {
			if len(hints) == 0 {
				hints = c.movingAway(few[i], few[j])
			}
		}
	}
	if len(hints) > 0 || len(c.Neighbours) < 3 {
		return hints
	}
	after := c.without(order...)
	if len(order) < len(c.Neighbours) {
		return nil
	}
	return after.try(Hint{Kind: Move, Pods: c.names(order),
		Text: fmt.Sprintf("all %d pods with CPUs of their own move", len(order))})
}

func (c *Case) movingAway(places ...int) []Hint {
	after := c.without(places...)
	verb := " moves"
	if len(places) > 1 {
		verb = " move"
	}
	var parts []string
	for _, i := range places {
		n := &c.Neighbours[i]
		what := count(n.size(), "CPU")
		if n.InFlight != nil {
			what = "in flight, " + what
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", n.Name, what))
	}
	return after.try(Hint{Kind: Move, Pods: c.names(places), Text: enumerate(parts) + verb})
}

func (c *Case) names(places []int) []string {
	names := make([]string, 0, len(places))
	for _, i := range places {
		names = append(names, c.Neighbours[i].Name)
	}
	return names
}

// size is how many CPUs a neighbour has, or will have.
func (n *Neighbour) size() int {
	if n.InFlight == nil {
		return n.CPUs.Len()
	}
	return n.InFlight.PeakCPUs()
}

// setting changes one thing in the kubelet's configuration.
func (c *Case) setting() []Hint {
	if c.Node == nil || c.Node.Topology == nil {
		return nil
	}
	if c.Node.CPUManager.Policy != cpumanager.PolicyStatic {
		return c.runningStatic()
	}
	var hints []Hint
	set := func(name, value, text string, change func(n *admission.Node)) {
		after := c.on(change)
		hints = append(hints, after.try(Hint{Kind: Set, Setting: name, Value: value, Text: text})...)
	}
	for _, policy := range looser[c.Node.TopologyManager.Policy] {
		if len(hints) == 0 {
			set("topologyManagerPolicy", policy, "its kubelet has topology manager policy "+policy,
				func(n *admission.Node) { n.TopologyManager.Policy = policy })
		}
	}
	if c.Node.TopologyManager.Policy != topologymanager.PolicyNone && c.Node.TopologyManager.Scope == topologymanager.ScopePod {
		set("topologyManagerScope", topologymanager.ScopeContainer, "its kubelet has topology manager scope container",
			func(n *admission.Node) { n.TopologyManager.Scope = topologymanager.ScopeContainer })
	}
	if c.Node.CPUManager.Options.FullPCPUsOnly {
		set("full-pcpus-only", "false", "its kubelet does not have option full-pcpus-only",
			func(n *admission.Node) { n.CPUManager.Options.FullPCPUsOnly = false })
	}
	if reserved, ok := c.reservedOnWholeCores(); ok {
		set("reservedSystemCPUs", reserved.String(), fmt.Sprintf("its reserved CPUs are %s, on whole cores, instead of %s", reserved, c.Node.Reserved),
			func(n *admission.Node) {
				if n.CPUManager.Options.StrictCPUReservation {
					n.Shared = n.Shared.Union(n.Reserved).Minus(reserved)
				}
				n.Reserved = reserved
			})
	}
	return hints
}

// looser are the policies that refuse less than each, the strictest first.
var looser = map[string][]string{
	topologymanager.PolicySingleNUMANode: {topologymanager.PolicyRestricted, topologymanager.PolicyBestEffort},
	topologymanager.PolicyRestricted:     {topologymanager.PolicyBestEffort},
}

// reservedOnWholeCores is as many CPUs as are reserved, taken from the first cores that have one of them, if
// the reserved CPUs leave parts of cores and all those CPUs are free to be reserved.
func (c *Case) reservedOnWholeCores() (cpuset.Set, bool) {
	var whole cpuset.Set
	for _, core := range c.Node.Topology.Cores() {
		if core.CPUs.Overlaps(c.Node.Reserved) && whole.Len()+core.CPUs.Len() <= c.Node.Reserved.Len() {
			whole = whole.Union(core.CPUs)
		}
	}
	unused := c.Node.Shared.Union(c.Node.Reserved)
	return whole, whole != c.Node.Reserved && whole.Len() == c.Node.Reserved.Len() && whole.SubsetOf(unused)
}

// runningStatic switches the static CPU manager on; the kubelet does not start with it where no CPU is reserved.
func (c *Case) runningStatic() []Hint {
	if c.Node.Reserved.IsEmpty() {
		return nil
	}
	after := c.on(func(n *admission.Node) {
		n.CPUManager.Policy = cpumanager.PolicyStatic
		n.Shared = n.Empty().Shared
	})
	return after.try(Hint{Kind: Set, Setting: "cpuManagerPolicy", Value: cpumanager.PolicyStatic, Text: "its kubelet runs CPU manager policy static"})
}
