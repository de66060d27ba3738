// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"cmp"
	"slices"
	"strconv"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
)

// repeats is how many steps of a search there may be for each placement that is tried: most are about placements that have
// been tried before.
const repeats = 50

// search is a search for migrations. It changes no node of the cluster: each state of a node is a copy.
type search struct {
	*Cluster
	targets Targets
	now     []state // in the order of Nodes
	steps   []Migration
	// known is what is known of the nodes as the first migrations leave them: as none does, one, two and so on.
	known []known
	// busy are the nodes that are being cleared for a pod.
	busy []bool
	// classes are numbered, so that keys are short.
	classes map[string]int
	movers  map[*Pod]mover
	answers map[question]asked
	rooms   map[question]int
	// tried is how many placements were tried, and looked how many steps there were. The former has a limit, and cut reports that
	// it was reached.
	tried, looked, limit int
	cut                  bool
}

// state is a node as some migrations leave it.
type state struct {
	node *Node
	// id is equal only for states that give the same answers.
	id string
	// movable are the pods that may move, those with the fewest CPUs first.
	movable []*Pod
	free    int
}

// known is what is known of all nodes, by class of pods.
type known struct {
	takers   map[int][]int
	openings map[int][]opening
}

func nothing() known { return known{map[int][]int{}, map[int][]opening{}} }

// mover is a pod that may move.
type mover struct {
	number int // so that ids are short
	holds  int // CPUs
}

// opening is a node that takes a class of pods as soon as one of its pods has left it, which another node takes.
type opening struct {
	at  int
	pod *Pod
}

type question struct {
	state string
	class int
}

func (c *Cluster) search(targets Targets) *search {
	s := &search{Cluster: c, targets: targets, known: []known{nothing()}, busy: make([]bool, len(c.Nodes)),
		classes: map[string]int{}, movers: map[*Pod]mover{}, answers: map[question]asked{}, rooms: map[question]int{}}
	for i, node := range c.Nodes {
		s.now = append(s.now, s.stateOf(node, number("n", i)))
	}
	return s
}

// stateOf is a state of a node. A pod that has come by a migration does not move again.
func (s *search) stateOf(node *Node, id string) state {
	f := state{node: node, id: id}
	if node.report.Node != nil {
		f.free = node.report.Node.Free().Len()
	}
	for _, pod := range node.pods {
		if s.targets[pod] == nil {
			continue
		}
		f.movable = append(f.movable, pod)
		_, known := s.movers[pod]
		if !known {
			s.movers[pod] = mover{len(s.movers), admission.Decision{Grants: node.report.Granted[pod.UID]}.Granted().Len()}
		}
	}
	slices.SortStableFunc(f.movable, func(a, b *Pod) int { return cmp.Or(cmp.Compare(a.cpus(), b.cpus()), cmp.Compare(a.Name, b.Name)) })
	return f
}

// cpus is how many CPUs of its own the pod asks for.
func (p *Pod) cpus() int { return p.Demand.Pod.PeakCPUs() }

// share gives the search a part of the placements that are left.
func (s *search) share(limits *Limits, last bool) {
	left := max(0, limits.Placements-s.tried)
	if !last {
		left = (left + 1) / 2 // short plans are the better ones
	}
	s.limit = s.tried + left
	s.looked = 0
}

// over reports whether the search has to end.
func (s *search) over() bool { return s.tried >= s.limit || s.looked/repeats >= s.limit }

// spent is over for a search that would go on.
func (s *search) spent() bool {
	s.cut = s.cut || s.over()
	return s.over()
}

// ask asks a node about a pod, as if some pods had left it. Only a node that is predicted exactly takes one.
func (s *search) ask(at int, left []*Pod, pod *Pod) asked {
	s.looked++
	from := &s.now[at]
	if from.node.report.State == nodereport.Exact && pod.cpus() > from.free+s.held(left) {
		return asked{} // whatever else is free
	}
	key := question{s.without(at, left), s.class(pod)}
	answer, known := s.answers[key]
	if known {
		return answer
	}
	if s.spent() {
		return asked{}
	}
	s.tried++
	answer = s.leaving(at, left).ask(pod, s.strategy)
	answer.fits = exactly(&answer)
	s.answers[key] = answer
	return answer
}

// exactly reports whether a node takes a pod, and is predicted exactly. An estimated one promises nothing.
func exactly(a *asked) bool { return a.fits && !a.estimated }

func (s *search) class(pod *Pod) int {
	class, known := s.classes[pod.Class]
	if !known {
		class = len(s.classes)
		s.classes[pod.Class] = class
	}
	return class
}

// without is the id of the state of a node that pods have left.
func (s *search) without(at int, left []*Pod) string {
	id := s.now[at].id
	for _, pod := range left {
		id += number("-", s.movers[pod].number)
	}
	return id
}

// leaving is a node after pods have left it.
func (s *search) leaving(at int, left []*Pod) *Node {
	node := s.now[at].node
	if len(left) == 0 {
		return node
	}
	node = node.copied()
	for _, pod := range left {
		node.remove(pod)
	}
	return node
}

// number is a word of ids.
func number(kind string, n int) string { return kind + strconv.Itoa(n) }

// migrate moves a pod, and gives a function that undoes that. The other node takes the pod while it still has its CPUs here.
func (s *search) migrate(pod *Pod, from, to int) (undo func()) {
	source := s.now[from]
	destination := s.now[to]
	steps := len(s.steps)
	target := *s.targets[pod]
	m := Migration{Pod: pod, From: source.node.Name, To: destination.node.Name, Frees: source.node.report.Granted[pod.UID], from: from, to: to}
	s.looked += repeats // it is as much work as a placement
	after := destination.node.copied()
	m.Gets = after.add(&target)
	left := []*Pod{pod}
	s.now[to] = s.stateOf(after, destination.id+number("+", s.class(&target)))
	s.now[from] = s.stateOf(s.leaving(from, left), s.without(from, left))
	s.steps = append(s.steps, m)
	s.known = append(s.known, nothing())
	return func() {
		s.now[to] = destination
		s.now[from] = source
		s.steps = s.steps[:steps]
		s.known = s.known[:steps+1]
	}
}

// all are the answers of the nodes to a pod.
func (s *search) all(pod *Pod) []asked {
	answers := make([]asked, len(s.now))
	for i := range s.now {
		answers[i] = s.ask(i, nil, pod)
	}
	return answers
}

// takers are the nodes that take a pod, those that are rated best first.
func (s *search) takers(pod *Pod) []int {
	found := s.known[len(s.steps)].takers
	class := s.class(pod)
	nodes, counted := found[class]
	if counted {
		return nodes
	}
	answers := s.all(pod)
	for i := range answers {
		if answers[i].fits {
			nodes = append(nodes, i)
		}
	}
	slices.SortStableFunc(nodes, func(a, b int) int { return cmp.Compare(answers[b].rating, answers[a].rating) })
	if !s.over() {
		found[class] = nodes
	}
	return nodes
}

// moves reports whether another node takes a pod that may move.
func (s *search) moves(pod *Pod, from int) bool {
	for at := range s.now {
		if at != from && s.ask(at, nil, s.targets[pod]).fits {
			return true
		}
	}
	return false
}

// openings are those for a pod.
func (s *search) openings(pod *Pod) []opening {
	found := s.known[len(s.steps)].openings
	class := s.class(pod)
	all, counted := found[class]
	if counted {
		return all
	}
	for _, at := range s.clearable(pod, 1) {
		for _, other := range s.now[at].movable {
			if pod.cpus() <= s.now[at].free+s.movers[other].holds && s.ask(at, []*Pod{other}, pod).fits && s.moves(other, at) {
				all = append(all, opening{at, other})
			}
		}
	}
	if !s.over() {
		found[class] = all
	}
	return all
}

// settle finds places for a pod on other nodes than its own, with at most spare migrations before. It gives each place to then,
// with the migrations that are left, until then is content.
func (s *search) settle(pod *Pod, from, spare int, then func(at, spare int) bool) bool {
	takers := s.takers(pod)
	for _, at := range takers {
		if at != from && then(at, spare) {
			return true
		}
	}
	closed := func(at int) bool { return at == from || s.busy[at] || slices.Contains(takers, at) }
	switch {
	case spare == 0:
		return false
	case spare == 1 && from >= 0: // many pods are asked about, so all openings are worth finding
		for _, o := range s.openings(pod) {
			if !closed(o.at) && s.clearFor(pod, o.at, []*Pod{o.pod}, spare, then) {
				return true
			}
		}
		return false
	}
	for _, at := range s.clearable(pod, spare) {
		if closed(at) || !s.ask(at, s.now[at].movable, pod).fits {
			continue
		}
		found := s.subsets(at, pod, spare, func(leaving []*Pod) bool { return s.clearFor(pod, at, leaving, spare, then) })
		if found || s.spent() {
			return found
		}
	}
	return false
}

// clearFor moves pods from a node, and gives the node to then if it takes a pod after that.
func (s *search) clearFor(pod *Pod, at int, leaving []*Pod, spare int, then func(at, spare int) bool) bool {
	s.busy[at] = true
	defer func() { s.busy[at] = false }()
	return s.clear(at, leaving, spare-len(leaving), func(spare int) bool {
		return s.ask(at, nil, pod).fits && then(at, spare)
	})
}

// clear moves pods from a node, with at most spare migrations of others before, and then asks whether that is enough.
func (s *search) clear(at int, leaving []*Pod, spare int, enough func(spare int) bool) bool {
	if len(leaving) == 0 {
		return enough(spare)
	}
	if s.spent() || spare == 0 && slices.ContainsFunc(leaving, func(pod *Pod) bool { return !s.moves(pod, at) }) {
		return false
	}
	for i, pod := range leaving {
		rest := slices.Delete(slices.Clone(leaving), i, i+1)
		found := s.settle(s.targets[pod], at, spare, func(to, spare int) bool {
			undo := s.migrate(pod, at, to)
			if s.clear(at, rest, spare, enough) {
				return true
			}
			undo()
			return false
		})
		if found {
			return true
		}
	}
	return false
}

// clearable are the nodes that would have enough CPUs for a pod if some of theirs moved, at most so many. Those come first that
// lack the fewest: there small VMs move.
func (s *search) clearable(pod *Pod, most int) []int {
	var nodes []int
	lack := make([]int, len(s.now))
	for i := range s.now {
		from := &s.now[i]
		lack[i] = pod.cpus() - from.free
		pods := from.movable
		largest := pods[max(0, len(pods)-most):]
		if len(pods) > 0 && from.node.report.State == nodereport.Exact && s.held(largest) >= lack[i] {
			nodes = append(nodes, i)
		}
	}
	slices.SortStableFunc(nodes, func(a, b int) int { return lack[a] - lack[b] })
	return nodes
}
