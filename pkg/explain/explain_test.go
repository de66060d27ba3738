package explain

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// Every hint is true: after its change, made here in another way, all who decide say yes. And nothing that
// is told to fit, or not to, is otherwise.
func TestHintsAreTrue(t *testing.T) {
	const cases = 10_000
	given, refused, helpless := map[string]int{}, 0, 0
	for seed := range uint64(cases) {
		c := dice{rand.New(rand.NewPCG(seed, 8))}.world(t)
		before := fmt.Sprintf("%+v", c)
		e := Of(c)
		if after := fmt.Sprintf("%+v", c); after != before {
			t.Fatalf("seed %d: the case was changed\n%s\n%s", seed, before, after)
		}
		if c.Node != nil && e.Obstacle != InFlight && (accepted(c) == nil) != e.Fits && (c.Dedicated || c.Node.Inexact(c.Pod) == "") {
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
				t.Errorf("seed %d: %q is not true: %v\n%s\n%s", seed, h.Text, err, c.Node, e)
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

// Where one pod's leaving helps, that is told: nothing is overlooked on small nodes.
func TestMovesAreFound(t *testing.T) {
	for seed := range uint64(2_000) {
		c := dice{rand.New(rand.NewPCG(seed, 9))}.world(t)
		e := Of(c)
		if e.Fits || e.Obstacle == InFlight || c.Unlabelled || c.Node == nil {
			continue
		}
		helps := ""
		for _, neighbour := range c.Neighbours {
			after := changed(t, c, Hint{Kind: Move, Pods: []string{neighbour.Name}})
			if after.Left && len(after.inFlight()) > 0 || after.inexact() != "" {
				continue
			}
			if accepted(&after) == nil {
				helps = neighbour.Name
			}
		}
		told := false
		for _, h := range e.Hints {
			told = told || h.Kind == Move && len(h.Pods) == 1
		}
		if told != (helps != "") {
			t.Errorf("seed %d: a move told: %t, one that helps: %q\n%s", seed, told, helps, strings.Join([]string{c.Node.String(), e.text(9)}, "\n"))
		}
	}
}
