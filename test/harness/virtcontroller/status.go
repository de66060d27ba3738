package virtcontroller

import (
	"context"
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Phases of a VMI, in the order in which it goes through them.
const (
	Pending    = "Pending"    // no pod yet
	Scheduling = "Scheduling" // the pod waits for a node
	Scheduled  = "Scheduled"  // the pod has a node
	Running    = "Running"    // the pod runs
	Succeeded  = "Succeeded"
	Failed     = "Failed"
)

func phaseOf(vmi *unstructured.Unstructured) string {
	phase, _, err := unstructured.NestedString(vmi.Object, "status", "phase")
	if err != nil {
		return ""
	}
	return phase
}

// final reports whether a VMI's or a pod's phase is its last.
func final(phase string) bool { return phase == Succeeded || phase == Failed }

// unstarted reports whether the VMI has never had a pod.
func unstarted(phase string) bool { return phase == "" || phase == Pending }

// condition is an entry of status.conditions.
type condition struct {
	kind, status, reason, message string
}

// phaseFor is the VMI's phase by its pod, nil for none.
func phaseFor(current string, pod *corev1.Pod) string {
	switch {
	case pod == nil && unstarted(current):
		return Pending
	case pod == nil, pod.Status.Phase == corev1.PodFailed:
		return Failed
	case pod.Status.Phase == corev1.PodSucceeded:
		return Succeeded
	case pod.Status.Phase == corev1.PodRunning:
		return Running
	case pod.Spec.NodeName != "":
		return Scheduled
	default:
		return Scheduling
	}
}

// conditionsFor says what a person needs to know who looks at the VMI only: why there is no pod, why
// the pod has no node, why it failed.
func conditionsFor(phase string, pod *corev1.Pod, refused error) []condition {
	ready := condition{"Ready", "False", "GuestNotRunning", "Guest VM is not reported as running"}
	switch {
	case phase == Running:
		ready = condition{"Ready", "True", "", ""}
	case phase == Failed && pod == nil:
		ready.message = "the launcher pod is gone; delete the VMI and create it again"
	case phase == Failed:
		ready.message = fmt.Sprintf("launcher pod %s failed: %s: %s", pod.Name, pod.Status.Reason, pod.Status.Message)
	}
	conditions := []condition{ready}
	if refused != nil {
		conditions = append(conditions, condition{"Synchronized", "False", "FailedCreate", refused.Error()})
	}
	if pod != nil && phase == Scheduling {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				conditions = append(conditions, condition{string(c.Type), string(c.Status), c.Reason, c.Message})
			}
		}
	}
	return conditions
}

// statusFor is the VMI's status by its pod. Conditions that have not changed keep their time.
func statusFor(vmi *unstructured.Unstructured, pod *corev1.Pod, refused error, now time.Time) map[string]any {
	phase := phaseFor(phaseOf(vmi), pod)
	status := map[string]any{"phase": phase}
	if pod != nil {
		status["activePods"] = map[string]any{string(pod.UID): pod.Spec.NodeName}
		if pod.Spec.NodeName != "" {
			status["nodeName"] = pod.Spec.NodeName
		}
		if pod.Status.QOSClass != "" {
			status["qosClass"] = string(pod.Status.QOSClass)
		}
	}
	earlier, _, err := unstructured.NestedSlice(vmi.Object, "status", "conditions")
	if err != nil {
		earlier = nil // not a list: someone else wrote it; replaced
	}
	var conditions []any
	for _, c := range conditionsFor(phase, pod, refused) {
		conditions = append(conditions, c.entry(earlier, now))
	}
	status["conditions"] = conditions
	return status
}

// entry is the condition as it is stored: the earlier entry if it says the same, else one of now.
func (c condition) entry(earlier []any, now time.Time) map[string]any {
	entry := map[string]any{"type": c.kind, "status": c.status, "reason": c.reason, "message": c.message}
	for _, item := range earlier {
		old, ok := item.(map[string]any)
		if !ok {
			continue
		}
		entry["lastTransitionTime"] = old["lastTransitionTime"]
		if reflect.DeepEqual(old, entry) {
			return old
		}
	}
	entry["lastTransitionTime"] = now.UTC().Format(time.RFC3339)
	return entry
}

// updateStatus writes the status if it changed. A VMI has no status subresource, so this is an update of the whole object. It is
// refused when the VMI has changed since it was read, so that an old copy never takes a phase back.
func (c *controller) updateStatus(ctx context.Context, vmi *unstructured.Unstructured, pod *corev1.Pod, refused error) error {
	status := statusFor(vmi, pod, refused, time.Now())
	if reflect.DeepEqual(vmi.Object["status"], any(status)) {
		return nil
	}
	changed := vmi.DeepCopy()
	changed.Object["status"] = status
	_, err := c.object.Resource(VMIs).Namespace(vmi.GetNamespace()).Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("updating the status of VMI %s: %w", vmi.GetName(), err)
	}
	return nil
}
