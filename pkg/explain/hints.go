// SPDX-License-Identifier: Apache-2.0

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
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// Kind is the kind of a change, in one word.
type Kind string

// Kinds of hints. What else a Hint says stands with each.
const (
	AddLabel Kind = "label" // the node gets the label cpumanager=true
	Ask      Kind = "ask"   // Container asks for CPUs instead
	Spare    Kind = "spare" // Container asks for Amount of Resource instead: bytes of memory, or devices
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
	Resource   string   `json:"resource,omitempty"`
	Amount     int64    `json:"amount,omitempty"`
	Pods       []string `json:"pods,omitempty"`
	Setting    string   `json:"setting,omitempty"`
	Value      string   `json:"value,omitempty"`
	// To is another node that would take the one pod that moves. Stops reports that none would. This package knows one node
	// only; a caller who knows all may set them.
	To    string `json:"to,omitempty"`
	Stops bool   `json:"stops,omitempty"`
	Text  string `json:"text"`
}

// Bounds of the search; see the package comment.
const (
	mostMoved = 64 // neighbours that are tried
	mostPairs = 12 // neighbours that are tried in pairs
	mostTold  = 3  // alternatives of one kind that are listed
	mostSizes = 64 // numbers of CPUs below what is asked
)

// hints are the changes after which the case fits.
func (q *question) hints() []Hint {
	var hints []Hint
	if q.demand.NeedsLabel && !q.node.Labelled {
		labelled := *q
		labelled.node.Labelled = true
		return append(hints, labelled.try(Hint{Kind: AddLabel, Text: "the node has that label"})...)
	}
	if !q.demand.Pod.PodLevelResources {
		hints = append(hints, q.askingOtherwise()...)
		hints = append(hints, q.sparing()...)
		hints = append(hints, q.trimming()...)
		hints = append(hints, q.sharing()...)
	}
	hints = append(hints, q.moving()...)
	return append(hints, q.setting()...)
}

// try gives the hint if the case, which is with its change made, fits.
func (q *question) try(h Hint) []Hint {
	if q.fits() {
		return []Hint{h}
	}
	return nil
}

// askingOtherwise are hints to ask for another number of CPUs, for each container with exclusive CPUs: the
// largest smaller number that fits, and the smallest larger one. Larger numbers are tried up to a core more,
// or up to where another NUMA node is needed in any case.
func (q *question) askingOtherwise() []Hint {
	v := q.verdict()
	if q.node.Kubelet == nil || v.State == nodereport.Inexact {
		return nil
	}
	var hints []Hint
	for i, container := range q.demand.Pod.Containers {
		if container.CPUs == 0 {
			continue
		}
		for _, cpus := range q.below(container.CPUs) {
			if h := q.askingFor(i, cpus); h != nil {
				hints = append(hints, h...)
				break
			}
		}
		for _, cpus := range q.above(container.CPUs) {
			if h := q.askingFor(i, cpus); h != nil {
				hints = append(hints, h...)
				break
			}
		}
	}
	return hints
}

// below are numbers of CPUs less than those asked, downwards: from the most that are free and left by count,
// and from the most that are free on one NUMA node.
func (q *question) below(cpus int) []int {
	free := q.node.Kubelet.Free()
	widest := 0
	if q.node.Kubelet.CPUManager.Policy != cpumanager.PolicyStatic {
		free = q.node.Kubelet.Topology.CPUs()
	}
	for _, numa := range q.node.Kubelet.Topology.NUMANodes() {
		widest = max(widest, numa.CPUs.Intersect(free).Len())
	}
	most := min(cpus-1, free.Len(), cpus-int((q.node.Missing(&q.demand)+999)/1000))
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

// above are numbers of CPUs, a few more than those asked, that a rule may accept: a whole core, or one NUMA
// node and a core. For the latter a policy that wants few NUMA nodes takes two.
func (q *question) above(cpus int) []int {
	threads := max(1, q.node.Kubelet.Topology.ThreadsPerCore())
	var more []int
	rest := cpus % threads
	if rest != 0 {
		more = append(more, cpus+threads-rest)
	}
	if q.node.Kubelet.TopologyManager.Policy == topologymanager.PolicyRestricted {
		a := asked{cpus: cpus, node: q.node.Kubelet}
		few, capacity := a.fewest()
		if few > 0 {
			more = append(more, capacity+1, capacity+threads)
		}
	}
	return more
}

func (q *question) askingFor(place, cpus int) []Hint {
	was := q.demand.Pod.Containers[place]
	after, ok := q.asking(place, cpus)
	if !ok {
		return nil
	}
	change := count(was.CPUs-cpus, "CPU") + " fewer"
	if cpus > was.CPUs {
		change = count(cpus-was.CPUs, "CPU") + " more"
	}
	return after.try(Hint{Kind: Ask, Container: was.Name, CPUs: cpus,
		Text: fmt.Sprintf("%s asks for %s (%d instead of %d)", q.who(place), change, cpus, was.CPUs)})
}

// several reports whether more than one container asks for exclusive CPUs.
func (q *question) several() bool {
	own := 0
	for _, container := range q.demand.Pod.Containers {
		own += min(container.CPUs, 1)
	}
	return own > 1
}

// trimming asks for less in the shared pool, where that is what the count lacks. Each container must go on
// asking for something.
func (q *question) trimming() []Hint {
	missing := q.node.Missing(&q.demand)
	if missing == 0 {
		return nil
	}
	rest := missing
	after := q.withFractions(func(fractions []int64) {
		for i, fraction := range fractions {
			less := max(0, min(rest, fraction-1))
			fractions[i] -= less
			rest -= less
		}
	})
	if rest > 0 {
		return nil
	}
	return after.try(Hint{Kind: Trim, Millicores: missing,
		Text: fmt.Sprintf("its containers in the shared pool ask for %dm less", missing)})
}

// sharing leaves one container beside the largest one in the shared pool.
func (q *question) sharing() []Hint {
	if !q.several() {
		return nil
	}
	largest := slices.MaxFunc(q.demand.Pod.Containers, func(a, b admission.Container) int { return cmp.Compare(a.CPUs, b.CPUs) })
	var hints []Hint
	for i, container := range q.demand.Pod.Containers {
		if container.CPUs == 0 || container.Name == largest.Name {
			continue
		}
		after, ok := q.asking(i, 0)
		if !ok {
			continue
		}
		if len(after.demand.Fractions) > 0 {
			after = after.withFractions(func(fractions []int64) { fractions[i] = 1000*int64(container.CPUs) - 1 })
		}
		hints = append(hints, after.try(Hint{Kind: Share, Container: container.Name,
			Text: fmt.Sprintf("container %s asks for a fraction instead of %s, and so runs in the shared pool",
				container.Name, count(container.CPUs, "CPU"))})...)
	}
	return hints
}

// moving lets one of the neighbours go, one that is ending first, then the smallest; if no one helps, two; or all.
func (q *question) moving() []Hint {
	all := q.holders()
	slices.SortStableFunc(all, func(i, j int) int {
		a := &q.node.Pods[i]
		b := &q.node.Pods[j]
		return cmp.Or(ends(b)-ends(a), cmp.Compare(size(a), size(b)), strings.Compare(a.Name, b.Name))
	})
	order := all[:min(len(all), mostMoved)]
	var hints []Hint
	for _, i := range order {
		if len(hints) < mostTold {
			hints = append(hints, q.movingAway(i)...)
		}
	}
	few := order[:min(len(order), mostPairs)]
	for j := range few {
		for i := range j {
			if len(hints) == 0 {
				hints = q.movingAway(few[i], few[j])
			}
		}
	}
	if len(hints) > 0 || len(all) < 3 {
		return hints
	}
	if len(order) < len(all) {
		return nil
	}
	after := q.without(order...)
	return after.try(Hint{Kind: Move, Pods: q.names(order),
		Text: fmt.Sprintf("all %d pods with CPUs of their own move", len(order))})
}

func (q *question) movingAway(places ...int) []Hint {
	after := q.without(places...)
	verb := " moves"
	ending := 0
	for _, i := range places {
		ending += ends(&q.node.Pods[i])
	}
	switch {
	case ending == 1 && len(places) == 1:
		verb = ", which is ending, has gone"
	case ending == len(places):
		verb = ", which are ending, have gone"
	case len(places) > 1:
		verb = " move"
	}
	var parts []string
	for _, i := range places {
		pod := &q.node.Pods[i]
		what := count(size(pod), "CPU")
		if pod.InFlight {
			what = "in flight, " + what
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", pod.Name, what))
	}
	return after.try(Hint{Kind: Move, Pods: q.names(places), Text: enumerate(parts) + verb})
}

func (q *question) names(places []int) []string {
	names := make([]string, 0, len(places))
	for _, i := range places {
		names = append(names, q.node.Pods[i].Name)
	}
	return names
}

// ends is 1 for a pod that is being deleted, and 0 for others.
func ends(pod *verdict.Pod) int {
	if pod.Ending {
		return 1
	}
	return 0
}

// size is how many CPUs a pod has, or will have.
func size(pod *verdict.Pod) int {
	if !pod.InFlight {
		return pod.CPUs().Len()
	}
	return pod.Asks.PeakCPUs()
}

// setting changes one thing in the kubelet's configuration.
func (q *question) setting() []Hint {
	if q.node.Kubelet == nil || q.node.Kubelet.Topology == nil {
		return nil
	}
	if q.node.Kubelet.CPUManager.Policy != cpumanager.PolicyStatic {
		return q.runningStatic()
	}
	var hints []Hint
	set := func(name, value, text string, change func(n *admission.Node)) {
		after := q.on(change)
		hints = append(hints, after.try(Hint{Kind: Set, Setting: name, Value: value, Text: text})...)
	}
	for _, policy := range looser[q.node.Kubelet.TopologyManager.Policy] {
		if len(hints) == 0 {
			set("topologyManagerPolicy", policy, "its kubelet has topology manager policy "+policy,
				func(n *admission.Node) { n.TopologyManager.Policy = policy })
		}
	}
	if q.node.Kubelet.TopologyManager.Policy != topologymanager.PolicyNone && q.node.Kubelet.TopologyManager.Scope == topologymanager.ScopePod {
		set("topologyManagerScope", topologymanager.ScopeContainer, "its kubelet has topology manager scope container",
			func(n *admission.Node) { n.TopologyManager.Scope = topologymanager.ScopeContainer })
	}
	memory, _ := q.node.Kubelet.Besides(&q.demand.Pod)
	if memory && q.node.Kubelet.TopologyManager.Policy != topologymanager.PolicyNone &&
		q.node.Kubelet.TopologyManager.Scope == topologymanager.ScopeContainer {
		set("topologyManagerScope", topologymanager.ScopePod, "its kubelet has topology manager scope pod",
			func(n *admission.Node) { n.TopologyManager.Scope = topologymanager.ScopePod })
	}
	if q.node.Kubelet.CPUManager.Options.FullPCPUsOnly {
		set("full-pcpus-only", "false", "its kubelet does not have option full-pcpus-only",
			func(n *admission.Node) { n.CPUManager.Options.FullPCPUsOnly = false })
	}
	if reserved, ok := q.reservedOnWholeCores(); ok {
		set("reservedSystemCPUs", reserved.String(), fmt.Sprintf("its reserved CPUs are %s, on whole cores, instead of %s", reserved, q.node.Kubelet.Reserved),
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
func (q *question) reservedOnWholeCores() (cpuset.Set, bool) {
	var whole cpuset.Set
	for _, core := range q.node.Kubelet.Topology.Cores() {
		if core.CPUs.Overlaps(q.node.Kubelet.Reserved) && whole.Len()+core.CPUs.Len() <= q.node.Kubelet.Reserved.Len() {
			whole = whole.Union(core.CPUs)
		}
	}
	unused := q.node.Kubelet.Shared.Union(q.node.Kubelet.Reserved)
	return whole, whole != q.node.Kubelet.Reserved && whole.Len() == q.node.Kubelet.Reserved.Len() && whole.SubsetOf(unused)
}

// runningStatic switches the static CPU manager on; the kubelet does not start with it where no CPU is reserved.
func (q *question) runningStatic() []Hint {
	if q.node.Kubelet.Reserved.IsEmpty() {
		return nil
	}
	after := q.on(func(n *admission.Node) {
		n.CPUManager.Policy = cpumanager.PolicyStatic
		n.Shared = n.Empty().Shared
	})
	return after.try(Hint{Kind: Set, Setting: "cpuManagerPolicy", Value: cpumanager.PolicyStatic, Text: "its kubelet runs CPU manager policy static"})
}
