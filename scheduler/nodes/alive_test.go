// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	testclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// A VM does not wait for the report of a node that is not heard from: the node is estimated.
func TestASilentNodeIsEstimated(t *testing.T) {
	v := newView()
	v.Set("n1", reportOf(t, nil))
	d := demand(vm("new", "8"))
	d.Estimate = true
	busy := nodeInfo(vm("a", "8"))
	roomy := busy.Node().DeepCopy()
	roomy.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("64")}
	busy.SetNode(roomy)
	if p := v.predict(d, busy); p.Obstacle != verdict.InFlight {
		t.Fatalf("with a pod in flight: %q", p.Obstacle)
	}
	since := time.Date(2026, 11, 30, 14, 2, 11, 0, time.UTC)
	if !v.Silence("n1", since) || v.Silence("n1", since) {
		t.Error("silence changes something once")
	}
	p := v.predict(d, busy)
	if !p.Estimated() || p.State != nodereport.Silent {
		t.Errorf("silent: obstacle %q, state %s", p.Obstacle, p.State)
	}
	if want := "not heard from since 2026-11-30T14:02:11Z; as of then its report was exact"; p.Why != want {
		t.Errorf("why: %q, want %q", p.Why, want)
	}
	// Reports of the past may still come, for example with condition Seen.
	v.Set("n1", reportOf(t, grants{"a": compute("4-7,12-15")}))
	if p := v.predict(d, busy); p.State != nodereport.Silent {
		t.Errorf("after a report: %s", p.State)
	}
	if !v.Hear("n1") || v.Hear("n1") {
		t.Error("hearing from it changes something once")
	}
	if p := v.predict(d, busy); p.Decision.Verdict != admission.Refused || !strings.Contains(p.Decision.Message, "locality") {
		t.Errorf("heard from again: %s", p.Decision)
	}
	if v.Silence("n9", since) || v.Hear("n9") {
		t.Error("a node without a report")
	}
}

// When the time of a cycle is over, nodes that are cached still answer, and the others are refused.
func TestACycleHasABudget(t *testing.T) {
	time0 := testclock.NewFakeClock(time.Unix(1000, 0))
	v := New(time0)
	v.Set("n1", reportOf(t, nil))
	known, unknown := nodeInfo(), nodeInfo(vm("a", "2"))
	d := demand(vm("new", "8"))
	q := v.Query(d, d.Key()).Within(5 * time.Second)
	time0.Step(5*time.Second - 1)
	if p := q.Predict(known); !p.Fits() {
		t.Errorf("in time: %q", p.Obstacle)
	}
	time0.Step(1)
	if p := q.Predict(known); !p.Fits() {
		t.Errorf("cached: %q", p.Obstacle)
	}
	if p := q.Predict(unknown); p.Obstacle != verdict.Late {
		t.Errorf("too late: %q", p.Obstacle)
	}
	if p := q.Simulate(known); p.Obstacle != verdict.Late {
		t.Errorf("a simulation that is too late: %q", p.Obstacle)
	}
	if p := v.Query(d, d.Key()).Predict(unknown); p.Obstacle == verdict.Late {
		t.Error("the next cycle is late as well")
	}
}
