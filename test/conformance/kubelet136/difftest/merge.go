// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"fmt"
	"slices"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// Hint is a topology hint, with the ids of its NUMA nodes.
type Hint struct {
	NUMANodes []int
	Preferred bool
}

// Merge is a kubelet's topology manager policy.
type Merge func(m *cputopology.Topology, c topologymanager.Config, hints []map[string][]Hint) (hint Hint, admit bool)

// listed is a hint provider that has a list of hints.
type listed struct {
	nodes topologymanager.Mask
	hints map[topologymanager.Mask]bool // whether it is preferred
}

func (l listed) Nodes() topologymanager.Mask           { return l.nodes }
func (l listed) PreferredSizes() (least, most int)     { return 1, l.nodes.Len() }
func (l listed) Preferred(m topologymanager.Mask) bool { return l.hints[m] }
func (l listed) Possible(m topologymanager.Mask) (ok bool) {
	_, ok = l.hints[m]
	return ok
}

// TestMerge holds the merge of any hints of up to four providers to the kubelet's.
func (k Kubelet) TestMerge(t *testing.T) {
	d := newDice(1)
	seen := map[string]int{}
	for range 20_000 {
		machine := d.numaNodes(1 + d.IntN(5))
		c := topologymanager.Config{PreferClosestNUMANodes: d.oneIn(3),
			Policy: pickOne(d, topologymanager.PolicyBestEffort, topologymanager.PolicyRestricted, topologymanager.PolicySingleNUMANode)}
		theirs, ours := d.hints(machine)
		hint, admit := k.Merge(machine, c, theirs)
		r := topologymanager.Request{Config: &c, Topology: machine, Providers: ours}
		affinity, err := r.Affinity()
		same := slices.Equal(idsOf(affinity.NUMANodes), hint.NUMANodes) && affinity.Preferred == hint.Preferred
		if (err == nil) != admit || admit && !same {
			t.Fatalf("%s %s, hints %v: the kubelet says %v, admit %v; we say %v, %v", machine, c, theirs, hint, admit, affinity, err)
		}
		seen[fmt.Sprintf("%s of %d: %v", c.Policy, min(len(ours), 2), admit)]++
	}
	for _, policy := range []string{topologymanager.PolicyBestEffort, topologymanager.PolicyRestricted, topologymanager.PolicySingleNUMANode} {
		for _, providers := range []int{1, 2} {
			for _, admit := range []bool{true, false} {
				row := fmt.Sprintf("%s of %d: %v", policy, providers, admit)
				if seen[row] < 100 && (admit || policy != topologymanager.PolicyBestEffort) {
					t.Errorf("%s: met %d times only", row, seen[row])
				}
			}
		}
	}
	t.Logf("kubelet 1.%d: %v", k.Minor, seen)
}

// numaNodes is a machine with a CPU in each of n NUMA nodes.
func (d dice) numaNodes(n int) *cputopology.Topology {
	var cores []cputopology.Core
	for i := range n {
		cores = append(cores, cputopology.Core{NUMANode: i, CPUs: cpuset.Of(i)})
	}
	machine, err := cputopology.New(cores)
	if err != nil {
		panic(fmt.Sprintf("made up a machine that is none: %v", err))
	}
	return d.withDistances(machine)
}

// hints are those of some providers: no preference, no hint, or a list.
func (d dice) hints(m *cputopology.Topology) (theirs []map[string][]Hint, ours []topologymanager.HintProvider) {
	all := topologymanager.Mask(1)<<len(m.NUMANodes()) - 1
	short := d.oneIn(4) // lists that meet in few sets, and at times in none of the wanted size
	for range 1 + d.IntN(4) {
		if d.oneIn(6) {
			theirs = append(theirs, pickOne(d, nil, map[string][]Hint{}, map[string][]Hint{"memory": nil}))
			continue
		}
		list := []Hint{}
		provider := listed{all, map[topologymanager.Mask]bool{}}
		usual := pickOne(d, 1, 1, 2, 3) // the size of most preferred hints, so that providers agree at times
		for mask := topologymanager.Mask(1); mask <= all && !d.oneIn(12); mask++ {
			if d.oneIn(3) || short && d.IntN(int(all)) > 2 {
				continue
			}
			preferred := mask.Len() == usual && !d.oneIn(4) || d.oneIn(20)
			provider.hints[mask] = preferred
			list = append(list, Hint{idsOf(mask), preferred})
		}
		theirs = append(theirs, map[string][]Hint{"memory": list})
		ours = append(ours, provider)
	}
	return theirs, ours
}

func idsOf(mask topologymanager.Mask) []int {
	var ids []int
	for ; mask != 0; mask = mask.Rest() {
		ids = append(ids, mask.First())
	}
	return ids
}
