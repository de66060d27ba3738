// SPDX-License-Identifier: Apache-2.0

package installation

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

func report(name string, conditions ...metav1.Condition) v1alpha1.NodeCPU {
	r := v1alpha1.NodeCPU{ObjectMeta: metav1.ObjectMeta{Name: name}}
	r.Status.Conditions = conditions
	return r
}

func condition(kind string, status metav1.ConditionStatus, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Message: message}
}

// works is a cluster in which nothing is wrong, after a renewal of the lease.
func works(renewed time.Time) *Observation {
	return &Observation{
		Schedulers: Pods{Wanted: 2, Ready: 2}, Agents: Pods{Wanted: 3, Ready: 3},
		Lease:   Lease{Name: "corepin-system/corepin-scheduler", Holder: "a", Renewed: renewed},
		Reports: []v1alpha1.NodeCPU{report("n1", condition(v1alpha1.ConditionExact, metav1.ConditionTrue, ""))},
	}
}

func TestJudge(t *testing.T) {
	start := time.Unix(0, 0)
	for name, tc := range map[string]struct {
		change func(before, now *Observation)
		wrong  string // the subject that is wrong, "" for none
		want   string // in its text, or in all texts where nothing is wrong
	}{
		"all is right":           {func(_, _ *Observation) {}, "", "1 of 1 predicted exactly"},
		"nobody leads":           {func(_, now *Observation) { now.Lease.Holder = "" }, "leader", "no scheduler holds Lease corepin-system/corepin-scheduler"},
		"a lease of a dead one":  {func(before, now *Observation) { now.Lease.Renewed = before.Lease.Renewed }, "leader", `"a" has not renewed Lease`},
		"another leader":         {func(_, now *Observation) { now.Lease.Holder = "b" }, "leader", `"b" has not renewed Lease`},
		"a scheduler not ready":  {func(_, now *Observation) { now.Schedulers.Ready = 1 }, "schedulers", "1 of 2 pods ready"},
		"agents nowhere":         {func(_, now *Observation) { now.Agents = Pods{} }, "agents", "0 of 0 pods ready"},
		"no report":              {func(_, now *Observation) { now.Reports = nil }, "nodes", "0 of 0 predicted exactly"},
		"a report without words": {func(_, now *Observation) { now.Reports = []v1alpha1.NodeCPU{report("n1")} }, "nodes", "n1 does not say yet"},
		"no exact node, and a message that is not harmless": {func(_, now *Observation) {
			now.Reports = []v1alpha1.NodeCPU{report("n1", condition(v1alpha1.ConditionExact, metav1.ConditionFalse, "policy\x1b[2Jnone"))}
		}, "nodes", `n1: "policy\x1b[2Jnone"`},
		"a silent node": {func(_, now *Observation) {
			now.Reports[0].Status.Conditions = append(now.Reports[0].Status.Conditions, condition(v1alpha1.ConditionSeen, metav1.ConditionFalse, ""))
		}, "nodes", "0 of 1 predicted exactly; n1 is not heard from"},
		"one of two": {func(_, now *Observation) { now.Reports = append(now.Reports, report("n2")) }, "", "1 of 2 predicted exactly; the report of n2"},
	} {
		before := works(start)
		now := works(start.Add(time.Second))
		tc.change(before, now)
		var wrong []string
		text := ""
		for _, line := range Judge(before, now, "corepin-system") {
			text += line.Text + "\n"
			if !line.OK() {
				wrong = append(wrong, line.Subject)
			}
		}
		if strings.Join(wrong, " ") != tc.wrong || !strings.Contains(text, tc.want) {
			t.Errorf("%s: wrong are %q, want %q; it says\n%swant %q", name, wrong, tc.wrong, text, tc.want)
		}
	}
}

// After one look it is not known that the holder of a lease is alive.
func TestAFirstLookSeesNoLeader(t *testing.T) {
	if line := Judge(nil, works(time.Unix(0, 0)), "x")[0]; line.OK() || !strings.Contains(line.Next, "-n x ") {
		t.Errorf("the first look says %+v", line)
	}
}
