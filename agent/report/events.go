package report

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// Reasons of the events on the Node.
const (
	EventCPUManagerDetected = "CPUManagerDetected"
	EventCPUManagerGone     = "CPUManagerGone"
	EventStateUnreadable    = "CPUManagerStateUnreadable"
	EventExactnessLost      = "CPUPredictionInexact"
	EventReportRefused      = "ReportRefused"
)

// event is one to be told on the Node.
type event struct{ kind, reason, message string }

// eventsOf are what became of a report. Both ends are what the API server has or will have, so an agent
// that restarts tells nothing twice.
func eventsOf(before, after []metav1.Condition) []event {
	var events []event
	was, is := find(before, v1alpha1.ConditionCPUManagerRunning), find(after, v1alpha1.ConditionCPUManagerRunning)
	switch {
	case is.Status == metav1.ConditionTrue && was.Status != metav1.ConditionTrue:
		events = append(events, event{corev1.EventTypeNormal, EventCPUManagerDetected, is.Message})
	case is.Status == metav1.ConditionFalse && was.Status == metav1.ConditionTrue:
		events = append(events, event{corev1.EventTypeWarning, EventCPUManagerGone, is.Message})
	}
	if is.Reason == ReasonStateUnreadable && was.Reason != ReasonStateUnreadable {
		events = append(events, event{corev1.EventTypeWarning, EventStateUnreadable, is.Message})
	}
	was, is = find(before, v1alpha1.ConditionExact), find(after, v1alpha1.ConditionExact)
	// That the state is unreadable has been told above.
	if is.Status == metav1.ConditionFalse && was.Status == metav1.ConditionTrue && is.Reason != ReasonStateUnreadable {
		events = append(events, event{corev1.EventTypeWarning, EventExactnessLost, is.Message})
	}
	return events
}

func find(conditions []metav1.Condition, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}
