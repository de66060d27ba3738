// SPDX-License-Identifier: Apache-2.0

package ranking

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// info is a node as kube-scheduler has it.
type info struct {
	fwk.NodeInfo
	node       *corev1.Node
	generation int64
}

func (i *info) Node() *corev1.Node   { return i.node }
func (i *info) GetGeneration() int64 { return i.generation }

// town is nodes, and what is true of them.
type town struct {
	Ranking
	nodes  []fwk.NodeInfo
	answer map[string]Answer
	state  map[string]State
	used   int64 // generations
	now    time.Time
	judged int
	barred map[string]bool // are not accepted
}

func newTown() *town {
	return &town{answer: map[string]Answer{}, state: map[string]State{}, barred: map[string]bool{}, now: time.Unix(1_000_000, 0)}
}

func (t *town) join(name string, a Answer) *town {
	t.answer[name] = a
	t.nodes = append(t.nodes, &info{node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}})
	t.touch(len(t.nodes) - 1)
	return t
}

// touch gives a node a new generation.
func (t *town) touch(at int) {
	t.used++
	t.nodes[at].(*info).generation = t.used
}

func (t *town) question(kind string, most, looks int) *Question {
	return &Question{
		Kind: kind, Nodes: t.nodes, Most: most, Looks: looks, Passing: looks, Now: t.now,
		Judge: func(n fwk.NodeInfo) Answer {
			t.judged++
			a := t.answer[n.Node().Name]
			if a.Until.IsZero() || t.now.Before(a.Until) {
				return a
			}
			return Answer{Takes: true, Rating: a.Rating}
		},
		State:  func(n fwk.NodeInfo) State { return t.state[n.Node().Name] },
		Accept: func(n fwk.NodeInfo) bool { return !t.barred[n.Node().Name] },
	}
}

func (t *town) best(kind string, most, looks int) []string {
	var names []string
	for _, rated := range t.Best(t.question(kind, most, looks)) {
		n := rated.Node
		names = append(names, n.Node().Name)
	}
	return names
}

func takes(rating int64) Answer { return Answer{Takes: true, Rating: rating} }

func TestTheBestOfAll(t *testing.T) {
	town := newTown().join("a", takes(1)).join("b", takes(3)).join("c", Answer{}).join("d", takes(2)).join("e", takes(9))
	town.barred["e"] = true
	if got := town.best("vm", 2, 100); !slices.Equal(got, []string{"b", "d"}) {
		t.Errorf("the best are %v; want b and d: e is barred and c takes no pod", got)
	}
	if got := town.best("vm", 2, 100); !slices.Equal(got, []string{"b", "d"}) || town.judged != 5 {
		t.Errorf("the best are %v after %d judgements; want b and d after 5: nothing has changed", got, town.judged)
	}
	town.answer["a"] = takes(7)
	town.Changed("a")
	if got := town.best("vm", 2, 100); !slices.Equal(got, []string{"a", "b"}) || town.judged != 6 {
		t.Errorf("the best are %v after %d judgements; want a and b after 6", got, town.judged)
	}
}

func TestLooks(t *testing.T) {
	town := newTown()
	for i := range 100 {
		town.join(fmt.Sprint("n", i), takes(int64(i)))
	}
	town.best("vm", 1, 30)
	if town.judged != 30 {
		t.Errorf("one cycle judged %d nodes; want 30", town.judged)
	}
	for range 3 {
		town.best("vm", 1, 30)
	}
	if got := town.best("vm", 1, 30); town.judged != 100 || got[0] != "n99" {
		t.Errorf("after five cycles %d nodes are judged, and the best is %s; want 100 and n99", town.judged, got[0])
	}
	for name := range town.answer {
		town.answer[name] = Answer{}
	}
	town.answer["n50"] = takes(1)
	for i := range town.nodes {
		town.touch(i)
	}
	if got := town.best("other", 1, 3); !slices.Equal(got, []string{"n50"}) {
		t.Errorf("the best is %v; want n50, which is found though it is not among the first 3", got)
	}
}

func TestEqualNodesTakeTurns(t *testing.T) {
	town := newTown()
	for i := range 10 {
		town.join(fmt.Sprint("n", i), takes(5))
	}
	seen := map[string]bool{}
	for range 10 {
		seen[town.best("vm", 1, 100)[0]] = true
	}
	if len(seen) != 10 {
		t.Errorf("%d of 10 equal nodes were the best once", len(seen))
	}
}

func TestAnAnswerEnds(t *testing.T) {
	town := newTown().join("a", Answer{Rating: 5, Until: time.Unix(1_000_060, 0)}).join("b", takes(1))
	if got := town.best("vm", 1, 100); got[0] != "b" {
		t.Errorf("the best is %v; want b, as a waits", got)
	}
	town.now = town.now.Add(time.Minute)
	if got := town.best("vm", 1, 100); got[0] != "a" {
		t.Errorf("a minute later the best is %v; want a", got)
	}
}

func TestNodesOfOneState(t *testing.T) {
	town := newTown()
	for i := range 100 {
		name := fmt.Sprint("n", i)
		town.join(name, takes(5)).state[name] = State{Hash: uint64(1 + i%2)}
	}
	town.best("vm", 3, 100)
	if town.judged != 2 {
		t.Errorf("%d nodes of two states were judged; want 2", town.judged)
	}
}

// A state that was judged costs nothing, however many nodes have it. So all nodes of a new kind are known after one cycle.
func TestLooksAreForStatesThatAreNotKnown(t *testing.T) {
	town := newTown()
	for i := range 100 {
		name := fmt.Sprint("n", i)
		town.join(name, takes(int64(i/10))).state[name] = State{Hash: uint64(1 + i/10)}
	}
	if got := town.best("vm", 1, 10); town.judged != 10 || town.answer[got[0]].Rating != 9 {
		t.Errorf("the best is %v after %d judgements; want one of the last ten nodes after 10", got, town.judged)
	}
}

func TestStatesThatPass(t *testing.T) {
	town := newTown()
	for i := range 100 {
		name := fmt.Sprint("n", i)
		town.join(name, takes(int64(i))).state[name] = State{Passing: i%2 == 1}
	}
	q := town.question("vm", 1, 60)
	q.Passing = 10
	if got := town.Best(q); town.judged != 60 || got[0].Rating != 98 {
		t.Errorf("%d nodes are judged, and the best has rating %d; want 60, of which 50 do not pass, and 98", town.judged, got[0].Rating)
	}
	for range 4 {
		town.Best(q)
	}
	if got := town.Best(q); town.judged != 100 || got[0].Rating != 99 {
		t.Errorf("after six cycles %d nodes are judged, and the best has rating %d; want 100 and 99", town.judged, got[0].Rating)
	}
	q = town.question("other", 1, 60)
	q.Passing = 0
	for i := range town.nodes {
		town.barred[fmt.Sprint("n", i)] = i%2 == 0
	}
	if got := town.Best(q); len(got) == 0 {
		t.Error("no node takes the pod; want one of those whose state passes, since no other is accepted")
	}
}

func TestKindsTakeNoMoreThanTheyMay(t *testing.T) {
	town := newTown()
	for i := range 15_000 {
		town.join(fmt.Sprint("n", i), takes(1))
	}
	for i := range 700 {
		town.best(fmt.Sprint("kind-", i), 1, 1)
	}
	kept := town.kinds.used.Len()
	if town.kinds.bytes > maxBytes || kept < 500 || kept != len(town.kinds.byKey) {
		t.Errorf("%d kinds are kept, with %d bytes; want at least 500, and at most %d bytes", kept, town.kinds.bytes, maxBytes)
	}
}

// Whatever happens to the nodes, what is returned are the best of all, as soon as the changes are known.
func TestTheBestOfAllInALife(t *testing.T) {
	for seed := range uint64(50) {
		town := newTown()
		random := rand.New(rand.NewPCG(seed, 1))
		names := 0
		for range 300 {
			for range random.IntN(4) {
				change(town, random, &names)
			}
			if len(town.nodes) == 0 {
				continue
			}
			kind := fmt.Sprint(random.IntN(3))
			most := 1 + random.IntN(5)
			got := ratings(town, town.best(kind, most, 1000))
			want := bruteForce(town, most)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: the ratings of the best are %v; want %v", seed, got, want)
			}
		}
	}
}

// change does one thing to the nodes.
func change(town *town, random *rand.Rand, names *int) {
	answer := takes(int64(random.IntN(20)))
	if random.IntN(3) == 0 {
		answer = Answer{}
	}
	what := random.IntN(6)
	if what == 0 || len(town.nodes) == 0 {
		*names++
		town.join(fmt.Sprint("n", *names), answer)
		return
	}
	at := random.IntN(len(town.nodes))
	name := town.nodes[at].Node().Name
	switch what {
	case 1:
		town.nodes = slices.Delete(slices.Clone(town.nodes), at, at+1)
	case 2:
		random.Shuffle(len(town.nodes), func(i, j int) { town.nodes[i], town.nodes[j] = town.nodes[j], town.nodes[i] })
	case 3:
		town.answer[name] = answer
		town.Changed(name)
	case 4:
		town.answer[name] = answer
		town.touch(at)
	case 5:
		town.barred[name] = !town.barred[name]
	}
}

func ratings(town *town, names []string) []int64 {
	var all []int64
	for _, name := range names {
		all = append(all, town.answer[name].Rating)
	}
	return all
}

func bruteForce(town *town, most int) []int64 {
	var all []int64
	for _, n := range town.nodes {
		name := n.Node().Name
		if town.answer[name].Takes && !town.barred[name] {
			all = append(all, town.answer[name].Rating)
		}
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all[:min(most, len(all))]
}
