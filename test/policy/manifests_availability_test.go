// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// What a probe must bear on a node that is overloaded: an answer that takes so long, and for liveness a node that gives
// none for so long.
const (
	slowAnswer = 5 * time.Second
	noAnswer   = time.Minute
)

func TestManifestsStayAvailable(t *testing.T) {
	for _, dir := range []string{"base", "overlays/example", "overlays/single-process"} {
		for _, violation := range availability(build(t, dir)) {
			t.Errorf("manifests/%s: %s", dir, violation)
		}
	}
}

// availability says what would take a workload away: an update, a drained node, a lost zone, an overloaded node.
func availability(objects []runtime.Object) []string {
	var violations []string
	demand := func(holds bool, what string) {
		if !holds {
			violations = append(violations, what)
		}
	}
	deployments := 0
	for _, object := range objects {
		switch o := object.(type) {
		case *appsv1.DaemonSet:
			violations = append(violations, probes(o.Name, o.Spec.Template.Spec)...)
		case *appsv1.Deployment:
			deployments++
			pod := o.Spec.Template.Spec
			violations = append(violations, probes(o.Name, pod)...)
			demand(ptr.Deref(o.Spec.Replicas, 1) > 1, o.Name+": have more than one replica")
			update := o.Spec.Strategy.RollingUpdate
			demand(update != nil && update.MaxUnavailable != nil && update.MaxUnavailable.IntValue() == 0, o.Name+": an update takes no replica away before the next is ready")
			demand(pod.Affinity != nil && pod.Affinity.PodAntiAffinity != nil, o.Name+": have the replicas on several nodes")
			demand(len(pod.TopologySpreadConstraints) > 0, o.Name+": have the replicas in several zones")
			demand(budgets(objects, o.Spec.Template.Labels) == 1, o.Name+": have one PodDisruptionBudget, of one pod at a time")
		}
	}
	demand(deployments > 0, "there is no Deployment")
	return violations
}

// budgets counts the PodDisruptionBudgets that let one pod with these labels go at a time, and a sick one always.
func budgets(objects []runtime.Object, of map[string]string) int {
	n := 0
	for _, object := range objects {
		budget, ok := object.(*policyv1.PodDisruptionBudget)
		if !ok || budget.Spec.Selector == nil || !labels.SelectorFromSet(budget.Spec.Selector.MatchLabels).Matches(labels.Set(of)) {
			continue
		}
		oneAtATime := budget.Spec.MaxUnavailable != nil && budget.Spec.MaxUnavailable.IntValue() == 1
		sick := ptr.Deref(budget.Spec.UnhealthyPodEvictionPolicy, policyv1.IfHealthyBudget) == policyv1.AlwaysAllow
		if oneAtATime && sick {
			n++
		}
	}
	return n
}

// probes says which probes an overloaded node does not keep.
func probes(name string, pod corev1.PodSpec) []string {
	var violations []string
	for _, c := range pod.Containers {
		for kind, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			if probe != nil && time.Duration(probe.TimeoutSeconds)*time.Second < slowAnswer {
				violations = append(violations, fmt.Sprintf("%s: the %s probe waits %d s for an answer, and a busy node may take %s", name, kind, probe.TimeoutSeconds, slowAnswer))
			}
		}
		if live := c.LivenessProbe; live != nil && time.Duration(live.PeriodSeconds*live.FailureThreshold)*time.Second < noAnswer {
			violations = append(violations, fmt.Sprintf("%s: the container is restarted after %d failures, %d s apart; a busy node may not answer for %s", name, live.FailureThreshold, live.PeriodSeconds, noAnswer))
		}
	}
	return violations
}

func TestAvailabilityCanFail(t *testing.T) {
	bare := &appsv1.Deployment{}
	bare.Name = "bare"
	bare.Spec.Template.Spec.Containers = []corev1.Container{{LivenessProbe: &corev1.Probe{}, ReadinessProbe: &corev1.Probe{}}}
	if got := availability([]runtime.Object{bare}); len(got) != 8 {
		t.Errorf("%d violations %q, want 8", len(got), got)
	}
}
