// SPDX-License-Identifier: Apache-2.0

// Package installation judges whether corepin works in a cluster just after it was installed or upgraded: a scheduler
// leads, the pods of both programs are ready, and at least one node is predicted exactly.
//
// What VMs do is not looked at: `kubectl corepin status` says that. Everything is a pure function of what was read. An
// observation is compared with the one before it, so that no clock has to be right.
package installation

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// Observation is what was read of a cluster at one time.
type Observation struct {
	// Schedulers and Agents are the pods of the two programs.
	Schedulers, Agents Pods
	// Lease is that of the scheduler's leader election.
	Lease Lease
	// Reports are the NodeCPU objects.
	Reports []v1alpha1.NodeCPU
}

// Pods are how many pods of a workload there should be, and how many answer their readiness probe.
type Pods struct{ Wanted, Ready int32 }

// Lease says who leads. Name is NAMESPACE/NAME. Holder is "" where nobody does.
type Lease struct {
	Name, Holder string
	Renewed      time.Time
}

// Line is what there is to say about one subject.
type Line struct {
	Subject, Text string
	// Next is the command to run next; "" where nothing is wrong.
	Next string
}

// OK reports whether nothing is wrong.
func (l Line) OK() bool { return l.Next == "" }

// Judge gives a line for each subject. before is an earlier observation, nil at first: that a scheduler leads is known only
// once it has renewed its lease meanwhile.
func Judge(before, now *Observation, namespace string) []Line {
	return []Line{
		leader(before, now, namespace),
		pods("schedulers", "corepin-scheduler", now.Schedulers, namespace),
		pods("agents", "corepin-agent", now.Agents, namespace),
		exact(now.Reports),
	}
}

func leader(before, now *Observation, namespace string) Line {
	line := Line{Subject: "leader", Next: fmt.Sprintf("kubectl logs -n %s -l app.kubernetes.io/name=corepin-scheduler", namespace)}
	switch {
	case now.Lease.Holder == "":
		line.Text = "no scheduler holds Lease " + now.Lease.Name
	case before == nil || before.Lease.Holder != now.Lease.Holder || before.Lease.Renewed.Equal(now.Lease.Renewed):
		line.Text = fmt.Sprintf("%q has not renewed Lease %s while this looked", now.Lease.Holder, now.Lease.Name)
	default:
		line.Text = fmt.Sprintf("%q leads, and renews Lease %s", now.Lease.Holder, now.Lease.Name)
		line.Next = ""
	}
	return line
}

func pods(subject, label string, p Pods, namespace string) Line {
	line := Line{Subject: subject, Text: fmt.Sprintf("%d of %d pods ready", p.Ready, p.Wanted)}
	if p.Wanted == 0 || p.Ready < p.Wanted {
		line.Next = fmt.Sprintf("kubectl describe pods -n %s -l app.kubernetes.io/name=%s", namespace, label)
	}
	return line
}

// exact says how many nodes are predicted exactly. Of the others one is named, with the agent's own reason.
func exact(reports []v1alpha1.NodeCPU) Line {
	n := 0
	other := ""
	for i := range reports {
		report := &reports[i]
		condition := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionExact)
		switch {
		case meta.IsStatusConditionFalse(report.Status.Conditions, v1alpha1.ConditionSeen):
			other = fmt.Sprintf("%s is not heard from", report.Name)
		case condition == nil:
			other = fmt.Sprintf("the report of %s does not say yet whether it is exact", report.Name)
		case condition.Status != metav1.ConditionTrue:
			other = fmt.Sprintf("%s: %q", report.Name, condition.Message)
		default:
			n++
		}
	}
	line := Line{Subject: "nodes", Text: fmt.Sprintf("%d of %d predicted exactly", n, len(reports))}
	if other != "" {
		line.Text += "; " + other
	}
	if n == 0 {
		line.Next = "kubectl describe nodecpus"
	}
	return line
}
