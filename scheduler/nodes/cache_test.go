// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"sync"
	"testing"

	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/nodereport"
)

// However full it is, a kind has what was predicted for the generation asked about, or nothing.
func TestKind(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	c := &predictionCache{}
	k := c.kind("a")
	known := map[int64]*Prediction{}
	found := 0
	for range 20000 {
		generation := 1 + random.Int64N(2000)
		if p := k.load(generation); p != nil {
			found++
			if p != known[generation] {
				t.Fatalf("generation %d: a prediction for %d, stale: %t", generation, p.generation, known[generation] != nil)
			}
		}
		if known[generation] != nil && random.IntN(3) == 0 {
			c.forget(k.number, generation)
			delete(known, generation)
			continue
		}
		if known[generation] == nil {
			known[generation] = &Prediction{generation: generation}
		}
		c.store(k, known[generation])
	}
	if found < 5000 {
		t.Errorf("found %d predictions, too few to be of use", found)
	}
	if got := c.bytes.Load(); got != k.bytes() || k.held > len(known) {
		t.Errorf("%d bytes are counted, the kind has %d; %d predictions of %d", got, k.bytes(), k.held, len(known))
	}
	for generation := range known {
		c.forget(k.number, generation)
	}
	if k.held != 0 || c.bytes.Load() != int64(len(*k.table.Load()))*setBytes {
		t.Errorf("all is forgotten, and there are %d predictions in %d bytes", k.held, c.bytes.Load())
	}
}

// predictionBytes must be at least what a prediction takes, with the grants it points to.
func TestPredictionBytes(t *testing.T) {
	size := reflect.TypeFor[Prediction]().Size()
	if grants := reflect.TypeFor[cpuset.Set]().Size() + 24; size+grants > predictionBytes || size+grants < predictionBytes/2 {
		t.Errorf("a prediction takes %d bytes and its grant %d; %d are counted", size, grants, predictionBytes)
	}
}

// Predictions of one kind are not given for another, and the kinds used last are kept.
func TestKindsAreBounded(t *testing.T) {
	v := newView()
	v.Set("n1", reportOf(t, nil))
	info := nodeInfo()
	for i := range 2 * maxKinds {
		d := demand(vm("new", fmt.Sprint(1+i%8)))
		key := fmt.Sprint(i)
		got := v.Query(d, key).Predict(info)
		if want := fits(v.Report("n1"), info, d); got.Decision.String() != want.Decision.String() {
			t.Fatalf("demand %d: %s, want %s", i, got.Decision, want.Decision)
		}
		if again := v.Query(d, key).Predict(info); again != got {
			t.Errorf("demand %d was predicted twice", i)
		}
	}
	c := &v.cache
	if len(c.byKey) != maxKinds || c.used.Len() != maxKinds || c.byKey[fmt.Sprint(2*maxKinds-1)] == nil || c.byKey["0"] != nil {
		t.Errorf("%d kinds by key, %d by use; the last is there: %t", len(c.byKey), c.used.Len(), c.byKey[fmt.Sprint(2*maxKinds-1)] != nil)
	}
	numbers := map[int]bool{}
	for at := c.used.Front(); at != nil; at = at.Next() {
		numbers[at.Value.(*kind).number] = true
	}
	if len(numbers) != maxKinds {
		t.Errorf("%d kinds share %d numbers", maxKinds, len(numbers))
	}
}

// A query whose kind was dropped gets right answers, and leaves nothing behind.
func TestADroppedKind(t *testing.T) {
	v := newView()
	v.Set("n1", reportOf(t, nil))
	info := nodeInfo()
	q := v.Query(demand(vm("new", "2")), "old")
	q.Predict(info)
	v.cache.mu.Lock()
	v.cache.drop()
	v.cache.mu.Unlock()
	for range 2 {
		if got := q.Predict(info).Decision.String(); got != "admitted: compute 1,9" {
			t.Errorf("got %s", got)
		}
	}
	v.Set("n1", reportOf(t, grants{"a": compute("1,9")}))
	info.AddPod(vm("a", "2"))
	if got := q.Predict(info).Decision.String(); got != "admitted: compute 2,10" {
		t.Errorf("after the report: %s", got)
	}
	if got := v.cache.bytes.Load(); got != 0 {
		t.Errorf("%d bytes are still counted", got)
	}
}

// fleet is a view of many nodes with 8 free CPUs each.
func fleet(t testing.TB, nodes int) (*View, []*framework.NodeInfo) {
	v := newView()
	infos := make([]*framework.NodeInfo, nodes)
	report := reportOf(t, nil)
	for i := range infos {
		infos[i] = framework.NewNodeInfo()
		infos[i].SetNode(st.MakeNode().Name(fmt.Sprint("n", i)).Label("cpumanager", "true").Obj())
		v.Set(infos[i].Node().Name, report)
	}
	return v, infos
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// 1,000 pods of 100 kinds wait in a cluster of 5,000 nodes. kube-scheduler looked at 500 nodes for each, as it does in a cluster
// of that size. Their demands are kept while they wait. The predictions stay within the cache's bound.
func TestMemoryIsBounded(t *testing.T) {
	const nodes, looked, kinds, pods = 5000, 500, 100, 1000
	v, infos := fleet(t, nodes)
	for _, info := range infos {
		v.predict(demand(vm("first", "2")), info)
	}
	before := heap()
	var waiting []any
	for i := range pods {
		d := demand(vm(fmt.Sprint("vm", i), "2"))
		d.Compute = fmt.Sprint("compute", i%kinds)
		q := v.Query(d, fmt.Sprint(d.Compute))
		for k := range looked {
			q.Predict(infos[(i*looked/2+k)%nodes])
		}
		waiting = append(waiting, d)
	}
	grown := heap() - before
	counted := v.cache.bytes.Load()
	if counted > maxCacheBytes || grown > maxCacheBytes+maxCacheBytes/2 {
		t.Errorf("%d waiting pods of %d kinds: %d MiB, of which the cache counts %d MiB; its bound is %d MiB", len(waiting), kinds, grown>>20, counted>>20, maxCacheBytes>>20)
	}
	if counted < maxCacheBytes/2 {
		t.Errorf("the cache counts %d MiB: this test does not fill it", counted>>20)
	}
	t.Logf("%d MiB in the heap, %d MiB counted, %d kinds", grown>>20, counted>>20, len(v.cache.byKey))
	runtime.KeepAlive(v)
}

// BenchmarkQuery begins a cycle, in a cluster of 5,000 nodes, for pods of so many kinds.
func BenchmarkQuery(b *testing.B) {
	for _, kinds := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(kinds, "kinds"), func(b *testing.B) {
			v, infos := fleet(b, 5000)
			demands := make([]string, kinds)
			d := demand(vm("new", "2"))
			for i := range demands {
				demands[i] = fmt.Sprint(i)
				q := v.Query(d, demands[i])
				for _, info := range infos[:500] {
					q.Predict(info)
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				v.Query(d, demands[i%kinds])
				i++
			}
		})
	}
}

// Nodes and their reports come, change and go while others ask. What is asked when all is quiet is right.
func TestCacheUnderFire(t *testing.T) {
	const nodes, rounds = 8, 300
	v := newView()
	infos := make([]*framework.NodeInfo, nodes)
	reports := []*nodereport.Report{reportOf(t, nil), reportOf(t, grants{"a": compute("4-7,12-15")}), reportOf(t, grants{"a": compute("1,9")})}
	for i := range infos {
		infos[i] = framework.NewNodeInfo()
		infos[i].SetNode(st.MakeNode().Name(fmt.Sprint("n", i)).Label("cpumanager", "true").Obj())
	}
	var work sync.WaitGroup
	for i := range infos {
		work.Go(func() {
			for round := range rounds {
				if round%7 == 0 {
					v.Delete(infos[i].Node().Name)
				}
				v.Set(infos[i].Node().Name, reports[round%len(reports)])
			}
		})
		work.Go(func() {
			for round := range rounds {
				d := demand(vm("new", fmt.Sprint(2+2*(round%4))))
				var info fwk.NodeInfo = infos[round%nodes]
				if p := v.predict(d, info); p.State == nodereport.Exact && p.generation != info.GetGeneration() {
					t.Errorf("asked about generation %d, answered for %d", info.GetGeneration(), p.generation)
				}
				if round%50 == i {
					v.cache.mu.Lock()
					v.cache.drop()
					v.cache.mu.Unlock()
				}
			}
		})
	}
	work.Wait()
	for i := range infos {
		for _, size := range []string{"2", "4", "6", "8"} {
			d := demand(vm("new", size))
			got := v.predict(d, infos[i])
			want := fits(reports[(rounds-1)%len(reports)], infos[i], d)
			if got.State != want.State || got.Decision.String() != want.Decision.String() {
				t.Errorf("node %d, %s CPUs: %s %s, want %s %s", i, size, got.State, got.Decision, want.State, want.Decision)
			}
		}
	}
}
