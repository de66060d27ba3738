// SPDX-License-Identifier: Apache-2.0

package virtcontroller

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"corepin.dev/corepin/pkg/launcherpod"
	"corepin.dev/corepin/pkg/quantity"
	"corepin.dev/corepin/test/harness/crd"
)

// Phases of a VMI, in the order in which it goes through them.
const (
	Pending    = "Pending"    // no pod yet
	Scheduling = "Scheduling" // the pod waits for a node, or for its containers
	Scheduled  = "Scheduled"  // the pod runs and is ready
	Running    = "Running"    // the domain is up, which virt-handler says
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
	case current == Running:
		return Running
	case containersReady(pod):
		return Scheduled
	default:
		return Scheduling
	}
}

// containersReady reports whether the pod is handed over to virt-handler (isPodReady, pkg/virt-controller/watch/vmi, commit
// d923fdb815cd): it runs, and every container is ready.
func containersReady(pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
		return false
	}
	for _, status := range pod.Status.ContainerStatuses {
		if !status.Ready {
			return false
		}
	}
	return true
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
	if pod != nil && phase == Scheduling && pod.Spec.NodeName == "" {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				conditions = append(conditions, condition{string(c.Type), string(c.Status), c.Reason, c.Message})
			}
		}
	}
	return conditions
}

// statusFor is the VMI's status by its pod. What virt-handler wrote stays, and so does the time of what has not changed.
func statusFor(vmi *unstructured.Unstructured, pod *corev1.Pod, refused error, now time.Time) map[string]any {
	earlier, _, err := unstructured.NestedMap(vmi.Object, "status")
	if err != nil || earlier == nil {
		earlier = map[string]any{} // not an object: someone else wrote it; replaced
	}
	status := maps.Clone(earlier)
	phase := phaseFor(phaseOf(vmi), pod)
	if phase != earlier["phase"] {
		transitions, _ := earlier["phaseTransitionTimestamps"].([]any)
		entry := map[string]any{"phase": phase, "phaseTransitionTimestamp": now.UTC().Format(time.RFC3339)}
		status["phaseTransitionTimestamps"] = append(slices.Clone(transitions), entry)
	}
	status["phase"] = phase
	if pod != nil {
		describe(status, vmi, pod, phase)
	}
	old, _ := earlier["conditions"].([]any)
	status["conditions"] = conditionsOf(old, conditionsFor(phase, pod, refused), now)
	return status
}

// describe writes what the status says of the launcher pod.
func describe(status map[string]any, vmi *unstructured.Unstructured, pod *corev1.Pod, phase string) {
	status["activePods"] = map[string]any{string(pod.UID): pod.Spec.NodeName}
	if phase != Scheduling && pod.Spec.NodeName != "" {
		status["nodeName"] = pod.Spec.NodeName
	}
	if pod.Status.QOSClass != "" {
		status["qosClass"] = string(pod.Status.QOSClass)
	}
	status["runtimeUser"] = *pod.Spec.SecurityContext.RunAsUser
	status["launcherContainerImageVersion"] = pod.Spec.Containers[0].Image
	status["migrationTransport"] = "Unix"
	overhead, err := quantity.Parse(pod.Annotations["kubevirt.io/memory-overhead-bytes"])
	if err == nil {
		memory := map[string]any{"memoryOverhead": resource.NewQuantity(overhead.Value(), resource.BinarySI).String()}
		guest, found, err := unstructured.NestedString(vmi.Object, "spec", "domain", "memory", "guest")
		if err == nil && found {
			memory["guestAtBoot"] = guest
			memory["guestCurrent"] = guest
			memory["guestRequested"] = guest
		}
		status["memory"] = memory
	}
	cpu, found, err := unstructured.NestedMap(vmi.Object, "spec", "domain", "cpu")
	if err == nil && found {
		topology := map[string]any{}
		for _, field := range []string{"sockets", "cores", "threads"} {
			if count, ok := cpu[field]; ok {
				topology[field] = count
			}
		}
		status["currentCPUTopology"] = topology
	}
}

// conditionsOf are those of this controller, then those of others as they are.
func conditionsOf(earlier []any, own []condition, now time.Time) []any {
	var conditions []any
	for _, c := range own {
		conditions = append(conditions, c.entry(earlier, now))
	}
	for _, item := range earlier {
		old, ok := item.(map[string]any)
		if ok && !slices.Contains(ours, fmt.Sprint(old["type"])) {
			conditions = append(conditions, old)
		}
	}
	return conditions
}

// ours are the types of conditions that this controller keeps.
var ours = []string{"Ready", "Synchronized", string(corev1.PodScheduled)}

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
	changed := vmi.DeepCopy()
	changed.Object["status"] = status
	if status["nodeName"] != nil {
		changed.SetLabels(with(vmi.GetLabels(), launcherpod.NodeLabel, fmt.Sprint(status["nodeName"])))
	}
	if reflect.DeepEqual(vmi.Object, changed.Object) {
		return nil
	}
	_, err := c.object.Resource(crd.VMIs).Namespace(vmi.GetNamespace()).Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("updating the status of VMI %s: %w", vmi.GetName(), err)
	}
	return nil
}

// with is labels and one more.
func with(labels map[string]string, key, value string) map[string]string {
	all := map[string]string{key: value}
	for k, v := range labels {
		if k != key {
			all[k] = v
		}
	}
	return all
}
