// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// Every hint is true: after its change, made here in another way, each part that decides says yes. And each answer is right.
func TestHintsAreTrue(t *testing.T) {
	const cases = 10_000
	given, refused, helpless := map[string]int{}, 0, 0
	for seed := range uint64(cases) {
		c := dice{rand.New(rand.NewPCG(seed, 8))}.world(t)
		before := fmt.Sprintf("%+v", c)
		e := Of(&c.node, &c.demand)
		if after := fmt.Sprintf("%+v", c); after != before {
			t.Fatalf("seed %d: the case was changed\n%s\n%s", seed, before, after)
		}
		if c.node.Kubelet != nil && e.Obstacle != verdict.InFlight && (accepted(c) == nil) != e.Fits && (c.demand.Dedicated || c.node.Kubelet.Inexact(c.demand.Pod) == "") {
			t.Errorf("seed %d: fits %t, but: %v\n%s", seed, e.Fits, accepted(c), e)
		}
		if e.Fits {
			continue
		}
		refused++
		if len(e.Hints) == 0 {
			helpless++
		}
		if e.Facts == "" || e.Missing < 1 || len(e.text(2)) > 1024 {
			t.Errorf("seed %d: %s: %+v", seed, e, e)
		}
		for _, h := range e.Hints {
			given[string(h.Kind)+" "+h.Setting]++
			after := changed(t, c, h)
			if err := accepted(&after); err != nil {
				t.Errorf("seed %d: %q is not true: %v\n%s\n%s", seed, h.Text, err, c.node.Kubelet, e)
			}
		}
	}
	for _, kind := range []string{"label ", "ask ", "trim ", "share ", "move ", "set topologyManagerPolicy", "set topologyManagerScope",
		"set full-pcpus-only", "set reservedSystemCPUs", "set cpuManagerPolicy"} {
		if given[kind] == 0 {
			t.Errorf("no hint of kind %s was tried", kind)
		}
	}
	t.Logf("%d cases, %d refused, %d of them without a hint; hints: %v", cases, refused, helpless, given)
}

// If it helps that one pod leaves, there is a hint for it: nothing is missed on small nodes.
func TestMovesAreFound(t *testing.T) {
	for seed := range uint64(2_000) {
		c := dice{rand.New(rand.NewPCG(seed, 9))}.world(t)
		e := Of(&c.node, &c.demand)
		if e.Fits || e.Obstacle == verdict.InFlight || e.Obstacle == verdict.Label || c.node.Kubelet == nil {
			continue
		}
		helps := ""
		for _, pod := range c.node.Pods {
			after := changed(t, c, Hint{Kind: Move, Pods: []string{pod.Name}})
			if v := after.verdict(); v.Obstacle == verdict.InFlight || v.State == nodereport.Inexact {
				continue
			}
			if accepted(&after) == nil {
				helps = pod.Name
			}
		}
		told := false
		for _, h := range e.Hints {
			told = told || h.Kind == Move && len(h.Pods) == 1
		}
		if told != (helps != "") {
			t.Errorf("seed %d: a move told: %t, one that helps: %q\n%s", seed, told, helps, strings.Join([]string{c.node.Kubelet.String(), e.text(9)}, "\n"))
		}
	}
}
