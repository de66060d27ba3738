// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/scoring"
)

// plenty are limits that no test reaches.
var plenty = Limits{Migrations: 5, Placements: 1_000_000}

// clusterOf makes a cluster of lines such as "n1 a4 b6! -c2". They have a node's name and pods with their CPUs, which come in that
// order. A pod with ! cannot move. One with - has left again, after all have come.
func clusterOf(t testing.TB, machine string, lines ...string) (*Cluster, Targets) {
	t.Helper()
	targets := Targets{}
	var nodes []*Node
	for _, line := range lines {
		words := strings.Fields(line)
		node := nodeOf(t, words[0], machine)
		var leaving []*Pod
		for _, word := range words[1:] {
			name := strings.Trim(word, "-!")
			cpus, err := strconv.Atoi(name[1:])
			if err != nil {
				t.Fatalf("%s: %v", word, err)
			}
			pod := podOf(name[:1], cpus, "1Gi")
			if a := node.ask(pod, scoring.LeastFragmentation); !a.fits {
				t.Fatalf("%s on %s: %s", word, words[0], a.why)
			}
			node.add(pod)
			switch {
			case strings.HasPrefix(word, "-"):
				leaving = append(leaving, pod)
			case !strings.HasSuffix(word, "!"):
				targets[pod] = pod.Moved()
			}
		}
		for _, pod := range leaving {
			node.remove(pod)
		}
		nodes = append(nodes, node)
	}
	return cluster(nodes...), targets
}

// tellPlan is a plan in one line: "b n1>n2 4-5,12-13; x n1 4-7,12-15".
func tellPlan(plan *Plan) string {
	var parts []string
	for i := range plan.Migrations {
		m := &plan.Migrations[i]
		parts = append(parts, fmt.Sprintf("%s %s>%s %s", m.Pod.Name, m.From, m.To, admission.Decision{Grants: m.Gets}.Granted()))
	}
	return strings.Join(append(parts, tell(plan.Then)), "; ")
}

func TestFit(t *testing.T) {
	for name, test := range map[string]struct {
		lines []string
		cpus  int
		want  string
	}{
		"it fits already":              {[]string{"n1 a4"}, 8, "x n1 4-7,12-15"},
		"one VM moves":                 {[]string{"n1 a4 b4", "n2 c6 d4"}, 8, "b n1>n2 6-7,14-15; x n1 4-7,12-15"},
		"a small VM moves first":       {[]string{"n1 a6 b4", "n2 c6 d2", "n3 e6 f4"}, 8, "d n2>n1 6,14; x n2 4-7,12-15"},
		"two VMs leave one node":       {[]string{"n1 a6 b3 c3", "n2 d6 e5!", "n3 f6 g5!"}, 8, "b n1>n2 7,14-15; c n1>n3 7,14-15; x n1 4-7,12-15"},
		"one makes room for another":   {[]string{"n1 a6! b6", "n2 c6! d3 g1!", "n3 e6! f5!"}, 8, "d n2>n3 7,14-15; b n1>n2 4,6-7,12,14-15; x n1 4-7,12-15"},
		"VMs that cannot move":         {[]string{"n1 a6! b4!", "n2 c6! d4!"}, 8, "x nowhere: 2 OutOfcpu"},
		"a machine is too small":       {[]string{"n1 a6 b4", "n2"}, 9, "x nowhere: 1 OutOfcpu, 1 TopologyAffinityError"},
		"not within a node":            {[]string{"n1 -a4 b4 c4", "n2 d6! e8!"}, 8, "x nowhere: 2 OutOfcpu"},
		"no two in each other's place": {[]string{"n1 a6! b6", "n2 c6! d4 e1!"}, 4, "x nowhere: 2 OutOfcpu"},
	} {
		c, targets := clusterOf(t, twoNUMA, test.lines...)
		if got := tellPlan(c.Fit(podOf("x", test.cpus, "1Gi"), targets, plenty)); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}

// A VM that selects a node stays there, and one that may go elsewhere makes room.
func TestFitHonoursSelectors(t *testing.T) {
	c, targets := clusterOf(t, twoNUMA, "n1 a6 b4", "n2 c6 d4!")
	for pod, target := range targets {
		if pod.Name == "b" {
			spec := target.Spec.DeepCopy()
			spec.Spec.NodeSelector = map[string]string{"zone": "a"}
			target.Spec = spec
			target.Class += " zone a"
		}
	}
	if plan := c.Fit(podOf("x", 8, "1Gi"), targets, plenty); plan.Found {
		t.Errorf("got %s, and b selects a zone that no node is in", tellPlan(plan))
	}
	c.Nodes[1].object.Labels["zone"] = "a"
	if got := tellPlan(c.Fit(podOf("x", 8, "1Gi"), targets, plenty)); got != "b n1>n2 6-7,14-15; x n1 4-7,12-15" {
		t.Errorf("with the label: got %s", got)
	}
}

// Nodes that are not predicted exactly take no VM in a plan, and are named where nothing has to move.
func TestFitAndEstimates(t *testing.T) {
	c, targets := clusterOf(t, twoNUMA, "n1 a6 b4", "vague c6")
	vague := *c.Nodes[1].report
	vague.State = nodereport.Inexact
	c.Nodes[1].report = &vague
	plan := c.Fit(podOf("x", 8, "1Gi"), targets, plenty)
	if !plan.Found || !plan.Then.Estimated || plan.Then.Node != "vague" || len(plan.Migrations) > 0 {
		t.Errorf("got %s, estimated %t", tellPlan(plan), plan.Then.Estimated)
	}
	c.Nodes[1].object.Spec.Taints = []corev1.Taint{{Key: "only", Effect: corev1.TaintEffectNoSchedule}}
	if plan := c.Fit(podOf("x", 8, "1Gi"), targets, plenty); plan.Found {
		t.Errorf("got %s, and only an estimated node could take b", tellPlan(plan))
	}
}

// A search ends at its limit, says so, and leaves the cluster as it was.
func TestFitEndsAtItsLimit(t *testing.T) {
	lines := []string{"n1 a6 b3 c3", "n2 d6 e5", "n3 f6 g5"}
	c, targets := clusterOf(t, twoNUMA, lines...)
	plan := c.Fit(podOf("x", 8, "1Gi"), targets, Limits{Migrations: 5, Placements: 1})
	if plan.Found || !plan.Cut || plan.Tried > 1 {
		t.Errorf("found %t, cut %t, tried %d", plan.Found, plan.Cut, plan.Tried)
	}
	whole := c.Fit(podOf("x", 8, "1Gi"), targets, plenty)
	if !whole.Found || whole.Cut {
		t.Errorf("with a larger limit: found %t, cut %t", whole.Found, whole.Cut)
	}
	if none := c.Fit(podOf("x", 8, "1Gi"), targets, Limits{Migrations: 1, Placements: 1000}); none.Found || none.Cut {
		t.Errorf("of one migration: found %t, cut %t", none.Found, none.Cut)
	}
	for i, node := range c.Nodes {
		fresh, _ := clusterOf(t, twoNUMA, lines[i])
		if !node.report.Same(fresh.Nodes[0].report) || len(node.pods) != len(fresh.Nodes[0].pods) {
			t.Errorf("%s has changed", node.Name)
		}
	}
}

func TestWin(t *testing.T) {
	for name, test := range map[string]struct {
		lines []string
		cpus  int
		want  string // the room, and the migrations with the room after each
	}{
		"nothing to win":   {[]string{"n1", "n2"}, 8, "2"},
		"one migration":    {[]string{"n1 a6 b4", "n2 c6 d4"}, 8, "0, b 1"},
		"nobody can move":  {[]string{"n1 a6! b4!", "n2 c6! d4!"}, 8, "0"},
		"two win together": {[]string{"n1 a6! b3 c3", "n2 d6! e5!", "n3 f6! g5!"}, 8, "0, b 0, c 1"},
	} {
		c, targets := clusterOf(t, twoNUMA, test.lines...)
		plan := c.Win(podOf("goal", test.cpus, "1Gi"), targets, plenty)
		got := fmt.Sprint(plan.Room)
		for i := range plan.Migrations {
			got += fmt.Sprintf(", %s %d", plan.Migrations[i].Pod.Name, plan.Migrations[i].Room)
		}
		if got != test.want || plan.Found != strings.Contains(got, ",") || plan.Cut {
			t.Errorf("%s: got %s, found %t, cut %t; want %s", name, got, plan.Found, plan.Cut, test.want)
		}
	}
}

func TestWinEndsAtItsLimit(t *testing.T) {
	c, targets := clusterOf(t, twoNUMA, "n1 a6 b4", "n2 c6 d4")
	plan := c.Win(podOf("goal", 8, "1Gi"), targets, Limits{Migrations: 5, Placements: 1})
	if plan.Found || !plan.Cut {
		t.Errorf("found %t, cut %t", plan.Found, plan.Cut)
	}
}

// What is left of a plan is tried on the cluster as it is after the first migration.
func TestRestOfAPlan(t *testing.T) {
	before, targets := clusterOf(t, twoNUMA, "n1 a6 b3 c3", "n2 d6 e5!", "n3 f6 g5!")
	planned := before.Fit(podOf("x", 8, "1Gi"), targets, plenty)
	won := before.Win(podOf("goal", 8, "1Gi"), targets, plenty)
	if len(planned.Migrations) != 2 || len(won.Migrations) != 2 {
		t.Fatalf("planned %s, and %s", tellPlan(planned), tellPlan(won))
	}
	for name, test := range map[string]struct {
		lines []string
		want  string // the plan, or what is not possible
		room  int    // after it
	}{
		"as planned":              {[]string{"n1 a6 -b3 c3", "n2 d6 e5! b3!", "n3 f6 g5!"}, "c n1>n3 7,14-15; x n1 4-7,12-15", 1},
		"the place is taken":      {[]string{"n1 a6 -b3 c3", "n2 d6 e5! b3!", "n3 f6 g5! h3!"}, "n3 does not take c: OutOfcpu", 0},
		"it has gone":             {[]string{"n1 a6", "n2 d6 e5! b3!", "n3 f6 g5!"}, "c is not on n1 any more", 1},
		"it may not move":         {[]string{"n1 a6 -b3 c3!", "n2 d6 e5! b3!", "n3 f6 g5!"}, "c may not move any more", 0},
		"the node is gone":        {[]string{"n1 a6 -b3 c3", "n2 d6 e5! b3!"}, "node n1 or node n3 is gone", 0},
		"another one has come":    {[]string{"n1 a6 -b3 c3 h2!", "n2 d6 e5! b3!", "n3 f6 g5!"}, "x nowhere: 3 OutOfcpu", 0},
		"there is room elsewhere": {[]string{"n1 a6 -b3 c3", "n2 d6 e5! b3!", "n3 f6 g5!", "n4"}, "c n1>n3 7,14-15; x n1 4-7,12-15", 2},
	} {
		c, targets := clusterOf(t, twoNUMA, test.lines...)
		plan, got := c.FitAfter(podOf("x", 8, "1Gi"), planned.Migrations[1:], targets)
		if got == "" {
			got = tellPlan(plan)
		}
		if got != test.want || plan.Found != strings.Contains(got, ">") {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
		after, broken := c.WinAfter(podOf("goal", 8, "1Gi"), won.Migrations[1:], targets)
		room := after.Room
		if len(after.Migrations) > 0 {
			room = after.Migrations[0].Room
		}
		if room != test.room || after.Found != (broken == "") {
			t.Errorf("%s: room for %d after it, want %d; %q", name, room, test.room, broken)
		}
	}
}
