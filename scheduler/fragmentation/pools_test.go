// SPDX-License-Identifier: Apache-2.0

package fragmentation

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func nodeIn(name, pool string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pool": pool}}}
}

func one(n int) counts {
	return counts{placeable: [len(sizes)]int{n}, stranded: [len(sizes)]int{10 * n}}
}

func TestSums(t *testing.T) {
	p := newPools("pool")
	if got := p.sums(); len(got) != 1 || *got[poolOther] != (counts{}) {
		t.Errorf("without nodes: %v", got)
	}
	p.set(nodeIn("n1", "a"), one(1))
	p.set(nodeIn("n2", "b"), one(2))
	p.set(nodeIn("n3", "b"), one(3))
	p.set(nodeIn("n4", ""), one(4))
	p.set(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n5"}}, one(5))
	p.set(nodeIn("n3", "b"), one(30))
	for pool, want := range map[string]counts{"a": one(1), "b": one(32), poolOther: one(9)} {
		if got := *p.sums()[pool]; got != want {
			t.Errorf("pool %s has %v, want %v", pool, got, want)
		}
	}
	p.remove("n1")
	if got := slices.Sorted(maps.Keys(p.sums())); !slices.Equal(got, []string{"b", poolOther}) {
		t.Errorf("after the last node of pool a: %q", got)
	}
	all := newPools("")
	all.set(nodeIn("n1", "a"), one(1))
	all.set(nodeIn("n2", "b"), one(2))
	if got := all.sums(); len(got) != 1 || *got[poolAll] != one(3) {
		t.Errorf("without a label: %v", got)
	}
}

// However many values a label has, few pools have series of their own, and those keep them.
func TestPoolsAreBounded(t *testing.T) {
	p := newPools("pool")
	p.set(nodeIn("first", "z"), one(1))
	p.sums()
	for i := range 3 * maxPools {
		p.set(nodeIn(fmt.Sprint("n", i), fmt.Sprintf("p%03d", i)), one(1))
	}
	sums := p.sums()
	if len(sums) != maxPools+1 || sums["z"] == nil || sums[poolOther].placeable[0] != 2*maxPools+1 {
		t.Errorf("%d pools, z %v, other %v", len(sums), sums["z"], sums[poolOther])
	}
	p.remove("first")
	if sums = p.sums(); sums["z"] != nil || sums["p019"] == nil || len(sums) != maxPools+1 {
		t.Errorf("after the first pool is gone: %q", slices.Sorted(maps.Keys(sums)))
	}
}
