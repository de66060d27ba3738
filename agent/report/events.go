// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// Reasons of the events on the Node.
const (
	EventCPUManagerDetected = "CPUManagerDetected"
	EventCPUManagerGone     = "CPUManagerGone"
	EventPolicyChanged      = "CPUManagerPolicyChanged"
	EventStateUnreadable    = "CPUManagerStateUnreadable"
	EventExactnessLost      = "CPUPredictionInexact"
	EventRestartUnsafe      = "KubeletRestartUnsafe"
	EventReportRefused      = "ReportRefused"
)

// event is one Event on the Node.
type event struct{ kind, reason, message string }

// eventsOf are the events of a change of the report. Before and after are what the API server has and will have, so an
// agent that restarts writes no event twice.
func eventsOf(before, after v1alpha1.NodeCPUStatus) []event {
	var events []event
	was := find(before.Conditions, v1alpha1.ConditionCPUManagerRunning)
	is := find(after.Conditions, v1alpha1.ConditionCPUManagerRunning)
	switch {
	case is.Status == metav1.ConditionTrue && was.Status != metav1.ConditionTrue:
		events = append(events, event{corev1.EventTypeNormal, EventCPUManagerDetected, is.Message})
	case is.Status == metav1.ConditionFalse && was.Status == metav1.ConditionTrue:
		events = append(events, event{corev1.EventTypeWarning, EventCPUManagerGone, is.Message})
	}
	if is.Reason == ReasonStateUnreadable && was.Reason != ReasonStateUnreadable {
		events = append(events, event{corev1.EventTypeWarning, EventStateUnreadable, is.Message})
	}
	policyWas := policies(before)
	policyIs := policies(after)
	if before.CPUManager.Policy != "" && before.CPUManager.Policy == after.CPUManager.Policy && policyWas != policyIs {
		events = append(events, event{corev1.EventTypeNormal, EventPolicyChanged, fmt.Sprintf("from %s to %s", policyWas, policyIs)})
	}
	was = find(before.Conditions, v1alpha1.ConditionExact)
	is = find(after.Conditions, v1alpha1.ConditionExact)
	// The event above says already that the state is unreadable.
	if is.Status == metav1.ConditionFalse && was.Status == metav1.ConditionTrue && is.Reason != ReasonStateUnreadable {
		events = append(events, event{corev1.EventTypeWarning, EventExactnessLost, is.Message})
	}
	was = find(before.Conditions, v1alpha1.ConditionRestartSafe)
	is = find(after.Conditions, v1alpha1.ConditionRestartSafe)
	// Pods that come and go change the answer by the hour, which only the condition shows. An event is for what
	// somebody has just done and can undo.
	isNews := is.Status == metav1.ConditionFalse && (was.Status != is.Status || was.Reason != is.Reason)
	if isNews && (is.Reason == ReasonWouldNotStart || strings.HasPrefix(is.Message, changedConfig) || policyWas != policyIs) {
		events = append(events, event{corev1.EventTypeWarning, EventRestartUnsafe, is.Message})
	}
	return events
}

// policies are the kubelet's settings that decide about CPUs, in words.
func policies(s v1alpha1.NodeCPUStatus) string {
	options := func(of map[string]string) string {
		if len(of) == 0 {
			return ""
		}
		return fmt.Sprint(" ", of) // in the order of the keys
	}
	text := fmt.Sprintf("CPU manager %s%s, topology manager %s (scope %s)%s, memory manager %s", s.CPUManager.Policy, options(s.CPUManager.Options),
		s.TopologyManager.Policy, s.TopologyManager.Scope, options(s.TopologyManager.Options), s.MemoryManager.Policy)
	if s.PodLevelResourceManagers {
		text += ", CPUs for pods as a whole"
	}
	return text
}

func find(conditions []metav1.Condition, kind string) metav1.Condition {
	c := meta.FindStatusCondition(conditions, kind)
	if c != nil {
		return *c
	}
	return metav1.Condition{}
}
