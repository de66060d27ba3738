// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
	testclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/pkg/nodereport"
)

// newcomer is a view whose reports are listed, with a clock of its own, and Node n1.
type newcomer struct {
	t     *testing.T
	clock *testclock.FakeClock
	view  *View
	node  *corev1.Node
}

func newStarting(t *testing.T, age time.Duration) *newcomer {
	s := &newcomer{t: t, clock: testclock.NewFakeClock(time.Unix(1_000_000, 0)), node: nodeInfo().Node().DeepCopy()}
	s.view = New(s.clock)
	s.view.list()
	s.node.CreationTimestamp = metav1.NewTime(s.clock.Now().Add(-age))
	s.node.UID = "n1"
	s.node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("14")}
	return s
}

// expect checks what the view says of the node, in a cycle, again in the same one, and in a simulation.
func (s *newcomer) expect(when string, want nodereport.State) *Prediction {
	s.t.Helper()
	info := nodeInfo()
	info.SetNode(s.node)
	d := demand(vm("new", "2"))
	d.Estimate = true
	p := s.view.predict(d, info)
	for what, got := range map[string]*Prediction{"": p, " again": s.view.predict(d, info), " in a simulation": s.view.simulated(d, fwk.NodeInfo(info))} {
		if got.State != want {
			s.t.Errorf("%s%s: %s (%s), want %s", when, what, got.State, got.Why, want)
		}
		if waits := want == nodereport.Awaited; waits == got.Until.IsZero() || waits == got.Fits() {
			s.t.Errorf("%s%s: obstacle %q, waits until %s", when, what, got.Obstacle, got.Until)
		}
	}
	return p
}

func (s *newcomer) wait(d time.Duration) { s.clock.Step(d) }

func TestAYoungNodeIsWaitedFor(t *testing.T) {
	s := newStarting(t, 2*time.Second)
	p := s.expect("two seconds old", nodereport.Awaited)
	if left := s.view.Remaining(p); left < 4*time.Minute || left > nodereport.FirstReport+time.Second {
		t.Errorf("it is waited for for %s more", left)
	}
	other := demand(vm("other", "2"))
	other.Dedicated = false
	info := nodeInfo()
	info.SetNode(s.node)
	if p := s.view.predict(other, info); !p.Fits() {
		t.Errorf("a pod of no VM waits: %q", p.Obstacle)
	}
	s.wait(4 * time.Minute)
	s.expect("four minutes old", nodereport.Awaited)
	s.view.Set("n1", reportOf(t, nil))
	s.expect("its report is there", nodereport.Exact)
	s = newStarting(t, 2*time.Second)
	s.expect("two seconds old", nodereport.Awaited)
	s.wait(6 * time.Minute)
	s.expect("six minutes old", nodereport.Missing)
	s = newStarting(t, 2*time.Second)
	labels := s.node.Labels
	s.node.Labels = nil
	s.expect("without the label", nodereport.Missing)
	s.node.Labels = labels
	s.view.Set("n1", nodereport.Unusable(nodereport.Newer, errors.New("format 9")))
	s.expect("its agent is newer, which waiting does not change", nodereport.Newer)
	newStarting(t, -time.Minute).expect("its clock is ahead", nodereport.Awaited)
	newStarting(t, -time.Hour).expect("its clock is far ahead", nodereport.Missing)
	newStarting(t, time.Hour).expect("old", nodereport.Missing)
}

// What happens to the report of a node that has been there for a day.
func TestALostReportIsWaitedFor(t *testing.T) {
	ownedBy := func(uid types.UID, change func(r *nodereport.Report)) *nodereport.Report {
		r := *reportOf(t, nil)
		r.Owner = uid
		r.Machine.KubeletVersion = "v1.36.3"
		if change != nil {
			change(&r)
		}
		return &r
	}
	for name, test := range map[string]struct {
		lose func(s *newcomer)
		then nodereport.State // when nobody waits any more
	}{
		"deleted":           {func(s *newcomer) { s.view.Delete("n1") }, nodereport.Missing},
		"deleted, no label": {func(s *newcomer) { s.view.Delete("n1"); s.node.Labels = nil }, nodereport.Missing},
		"garbage":           {func(s *newcomer) { s.view.Set("n1", nodereport.Unusable(nodereport.Unreadable, errors.New("torn"))) }, nodereport.Unreadable},
		"the Node is made anew": {func(s *newcomer) {
			s.node.UID = "n2"
			s.node.CreationTimestamp = metav1.NewTime(s.clock.Now())
		}, nodereport.Replaced},
		"the Node is made anew, and the report collected": {func(s *newcomer) {
			s.node.UID = "n2"
			s.node.CreationTimestamp = metav1.NewTime(s.clock.Now())
			s.view.Delete("n1")
		}, nodereport.Missing},
		"the kubelet is upgraded": {func(s *newcomer) { s.node.Status.NodeInfo.KubeletVersion = "v1.37.2" }, nodereport.Contradicted},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStarting(t, 24*time.Hour)
			s.node.Status.NodeInfo.KubeletVersion = "v1.36.3"
			s.view.Set("n1", ownedBy("n1", nil))
			s.expect("before", nodereport.Exact)
			test.lose(s)
			s.expect("at once", nodereport.Awaited)
			s.wait(4 * time.Minute)
			s.expect("four minutes later", nodereport.Awaited)
			s.wait(2 * time.Minute)
			s.expect("six minutes later", test.then)
			s.view.Set("n1", ownedBy(s.node.UID, func(r *nodereport.Report) { r.Machine.KubeletVersion = s.node.Status.NodeInfo.KubeletVersion }))
			s.expect("the agent has spoken", nodereport.Exact)
		})
	}
}

// The report of an older agent does not say of which boot it is.
func TestTheMachineBoots(t *testing.T) {
	s := newStarting(t, 24*time.Hour)
	s.view.Set("n1", reportOf(t, nil))
	s.node.Status.NodeInfo.BootID = "a"
	s.expect("first seen", nodereport.Exact)
	s.node.Status.NodeInfo.BootID = "b"
	s.expect("booted", nodereport.Awaited)
	s.view.Set("n1", reportOf(t, nil))
	s.expect("the agent has said the same again", nodereport.Exact)
	s.node.Status.NodeInfo.BootID = "c"
	s.expect("booted again", nodereport.Awaited)
	s.wait(6 * time.Minute)
	s.expect("and the agent is silent", nodereport.Contradicted)
}

// An agent that says the same again and again does not make its node wait without end.
func TestAContradictionIsWaitedForOnce(t *testing.T) {
	s := newStarting(t, 24*time.Hour)
	s.node.Status.NodeInfo.KubeletVersion = "v1.37.2"
	for minute := range 10 {
		r := *reportOf(t, grants{"a": compute([]string{"1,9", "2,10"}[minute%2])})
		r.Machine.KubeletVersion = "v1.36.3"
		s.view.Set("n1", &r)
		want := nodereport.Awaited
		if minute >= 5 {
			want = nodereport.Contradicted
		}
		s.expect("contradicted", want)
		s.wait(time.Minute)
	}
}

// The CRD is applied while the scheduler runs: the agents have yet to write their reports.
func TestReportsThatCouldNotBeListed(t *testing.T) {
	s := newStarting(t, 24*time.Hour)
	s.view = New(s.clock)
	s.view.unlisted.Store(true)
	s.expect("no CRD", nodereport.Unlisted)
	s.view.list()
	s.expect("the CRD is there", nodereport.Awaited)
	s.wait(6 * time.Minute)
	s.expect("and no report", nodereport.Missing)
}

// Nodes that are gone are forgotten.
func TestLostReportsAreForgotten(t *testing.T) {
	s := newStarting(t, time.Hour)
	for range 100 {
		s.view.Set("n1", reportOf(t, nil))
		s.view.Delete("n1")
		s.view.Set("n2", reportOf(t, nil))
		s.view.Delete("n2")
		s.wait(time.Minute)
	}
	s.wait(10 * time.Minute)
	s.view.Set("n3", reportOf(t, nil))
	if len(s.view.nodes) != 1 {
		t.Errorf("%d nodes are remembered, want n3", len(s.view.nodes))
	}
}
