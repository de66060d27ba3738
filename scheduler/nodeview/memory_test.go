package nodeview

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// However full it is, a memory has what was predicted for the generation asked about, or nothing.
func TestMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	m, known := newMemory(20), map[int64]*Prediction{}
	found := 0
	for range 5000 {
		generation := 1 + random.Int64N(200)
		if p := m.load(generation); p != nil {
			found++
			if p != known[generation] {
				t.Fatalf("generation %d: a prediction for %d, stale: %t", generation, p.generation, known[generation] != nil)
			}
		}
		if p := known[generation]; p != nil && random.IntN(2) == 0 {
			m.forget(p)
			delete(known, generation)
			continue
		}
		if known[generation] == nil {
			known[generation] = &Prediction{generation: generation}
		}
		m.store(known[generation])
	}
	if found < 500 {
		t.Errorf("found %d predictions, too few to be of use", found)
	}
	if !m.holds(20) || m.holds(200) {
		t.Error("a memory for 20 nodes is one for 200")
	}
}

// What is remembered for one kind of demand is not given for another, and a View does not remember without end.
func TestRememberIsBounded(t *testing.T) {
	v := &View{}
	v.Set(reportOf(t, nil))
	info := nodeInfo()
	for i := range 3 * maxRemembered {
		d := demand(vm("new", fmt.Sprint(1+i%8)))
		v.Remember(d, fmt.Sprint(i))
		got, want := v.Predict(d, info), fits(v.node("n1").report, "", info.GetPods(), d)
		if got.Decision.String() != want.Decision.String() {
			t.Fatalf("demand %d: %s, want %s", i, got.Decision, want.Decision)
		}
		if again := v.Predict(d, info); again != got {
			t.Errorf("demand %d was predicted twice", i)
		}
	}
	if keys, of := len(v.memories), len(v.node("n1").decided); keys > maxRemembered || of > maxRemembered {
		t.Errorf("%d keys and %d predictions of a node are remembered, more than %d", keys, of, maxRemembered)
	}
}

// Nodes and their reports come, change and go while others ask; what is asked when all is quiet is what the pure
// function says.
func TestMemoryUnderFire(t *testing.T) {
	const nodes, rounds = 8, 300
	v := &View{}
	infos, reports := make([]*framework.NodeInfo, nodes), []grants{nil, {"a": compute("4-7,12-15")}, {"a": compute("1,9")}}
	report := func(node, which int) *Report {
		nc := nodeCPU(reports[which])
		nc.Name = infos[node].Node().Name
		return Decode(object(t, nc))
	}
	for i := range infos {
		infos[i] = framework.NewNodeInfo()
		infos[i].SetNode(st.MakeNode().Name(fmt.Sprint("n", i)).Obj())
	}
	var work sync.WaitGroup
	for i := range infos {
		work.Go(func() {
			for round := range rounds {
				if round%7 == 0 {
					v.Delete(infos[i].Node().Name)
				}
				v.Set(report(i, round%len(reports)))
			}
		})
		work.Go(func() {
			for round := range rounds {
				d := remembered(v, vm("new", fmt.Sprint(2+2*(round%4))))
				var info fwk.NodeInfo = infos[round%nodes]
				if p := v.Predict(d, info); p.Standing == Exact && p.generation != info.GetGeneration() {
					t.Errorf("asked about generation %d, told of %d", info.GetGeneration(), p.generation)
				}
			}
		})
	}
	work.Wait()
	for i := range infos {
		for _, size := range []string{"2", "4", "6", "8"} {
			d := remembered(v, vm("new", size))
			got, want := v.Predict(d, infos[i]), fits(report(i, (rounds-1)%len(reports)), "", infos[i].GetPods(), d)
			if got.Standing != want.Standing || got.Decision.String() != want.Decision.String() {
				t.Errorf("node %d, %s CPUs: %s %s, want %s %s", i, size, got.Standing, got.Decision, want.Standing, want.Decision)
			}
		}
	}
}

// A node whose pods do not change keeps no predictions for demands that nobody asks for any more.
func TestForgottenDemandsAreLetGo(t *testing.T) {
	v, info := &View{}, nodeInfo()
	v.Set(reportOf(t, nil))
	for i := range 4 * maxRemembered {
		d := demand(vm("new", "2"))
		v.Remember(d, fmt.Sprint(i))
		v.Predict(d, info)
	}
	for _, d := range v.node("n1").decided {
		if !slices.Contains(slices.Collect(maps.Values(v.memories)), d.memory) {
			t.Fatal("the node keeps a memory that the view has forgotten")
		}
	}
	if got := len(v.node("n1").decided); got == 0 || got > maxRemembered {
		t.Errorf("the node keeps %d predictions", got)
	}
}
