// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// containerRuntime is the type in every container's id.
const containerRuntime = "simnode"

// withStatus is the pod with the status it should have. Like the kubelet it leaves conditions that others
// own, readiness gates among them, as they are; a pod that the API server knows to have ended stays so.
func withStatus(state *podState, now time.Time) (updated *corev1.Pod, changed bool) {
	old := state.pod.Status
	if old.Phase == corev1.PodFailed || old.Phase == corev1.PodSucceeded {
		return state.pod, false
	}
	updated = state.pod.DeepCopy()
	updated.Status.ObservedGeneration = updated.Generation
	if updated.Status.StartTime == nil {
		updated.Status.StartTime = ptr.To(metav1.NewTime(now.Truncate(time.Second)))
	}
	switch {
	case state.rejection != nil:
		reject(updated, state.rejection)
	case state.sandbox != nil:
		run(updated, state.sandbox.state(), !state.unready, now)
	}
	return updated, !equality.Semantic.DeepEqual(old, updated.Status)
}

// reject is the status of a refused pod, word for word the kubelet's (rejectPod in pkg/kubelet/kubelet.go,
// v1.36.3). A pod that ran, refused by a kubelet that restarted, loses its container statuses with it.
func reject(pod *corev1.Pod, rejection *Rejection) {
	pod.Status.Phase = corev1.PodFailed
	pod.Status.Reason = rejection.Reason
	pod.Status.Message = "Pod was rejected: " + rejection.Message
	pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses = nil, nil
}

// run is the status of an admitted pod. containers[0] is the one that runs the guest: KubeVirt renders
// compute first. It is also the one that is probed.
func run(pod *corev1.Pod, state sandboxState, probed bool, now time.Time) {
	over := !state.since[ended].IsZero() // by itself
	pod.Status.Phase = corev1.PodRunning
	switch {
	case state.failure != nil:
		pod.Status.Phase = corev1.PodFailed
	case over:
		pod.Status.Phase = corev1.PodSucceeded
	}
	computeReady := (state.progress == ready || state.progress == running) && probed
	pod.Status.InitContainerStatuses = containerStatuses(pod, pod.Spec.InitContainers, func(i int) corev1.ContainerStatus {
		if ptr.Deref(pod.Spec.InitContainers[i].RestartPolicy, "") == corev1.ContainerRestartPolicyAlways && !over {
			return runningContainer(state, true)
		}
		status := endedContainer(state.since[starting], state.since[starting], nil)
		status.Ready = true // it has done what it was there for
		return status
	})
	pod.Status.ContainerStatuses = containerStatuses(pod, pod.Spec.Containers, func(i int) corev1.ContainerStatus {
		if !over {
			return runningContainer(state, i > 0 || computeReady)
		}
		if i > 0 {
			return endedContainer(state.since[starting], state.since[ended], nil)
		}
		return endedContainer(state.since[starting], state.since[ended], state.failure)
	})
	setReadiness(pod, computeReady, now)
}

// containerStatuses fills in what all of them have in common.
func containerStatuses(pod *corev1.Pod, containers []corev1.Container, statusOf func(i int) corev1.ContainerStatus) []corev1.ContainerStatus {
	var statuses []corev1.ContainerStatus
	for i, container := range containers {
		status := statusOf(i)
		status.Name, status.Image = container.Name, container.Image
		status.ImageID = containerRuntime + "://none"
		status.ContainerID = fmt.Sprintf("%s://%s.%s", containerRuntime, pod.UID, container.Name)
		status.AllocatedResources = container.Resources.Requests.DeepCopy()
		status.Resources = container.Resources.DeepCopy()
		if status.State.Terminated != nil {
			status.State.Terminated.ContainerID = status.ContainerID
		}
		statuses = append(statuses, status)
	}
	return statuses
}

func runningContainer(state sandboxState, ready bool) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		Ready:   ready,
		Started: ptr.To(true),
		State:   corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: seconds(state.since[starting])}},
	}
}

func endedContainer(from, to time.Time, failure error) corev1.ContainerStatus {
	terminated := &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: seconds(from), FinishedAt: seconds(to)}
	if failure != nil {
		terminated.ExitCode, terminated.Reason, terminated.Message = 1, "Error", failure.Error()
	}
	return corev1.ContainerStatus{
		Started: ptr.To(false),
		State:   corev1.ContainerState{Terminated: terminated},
	}
}

// seconds is t as the API server stores it.
func seconds(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

// setReadiness sets the conditions that the kubelet owns. A pod is Ready when its containers are and all
// its readiness gates, which others set, are true.
func setReadiness(pod *corev1.Pod, containersReady bool, now time.Time) {
	ready := containersReady
	for _, gate := range pod.Spec.ReadinessGates {
		ready = ready && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == gate.ConditionType && c.Status == corev1.ConditionTrue
		})
	}
	setPodCondition(pod, corev1.PodReadyToStartContainers, true, "", now)
	setPodCondition(pod, corev1.PodInitialized, true, "", now)
	setPodCondition(pod, corev1.ContainersReady, containersReady, "ContainersNotReady", now)
	reason := "ContainersNotReady"
	if containersReady {
		reason = "ReadinessGatesNotReady"
	}
	setPodCondition(pod, corev1.PodReady, ready, reason, now)
}

// setPodCondition gives reason to a condition that is not true.
func setPodCondition(pod *corev1.Pod, kind corev1.PodConditionType, isTrue bool, reason string, now time.Time) {
	condition := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: seconds(now), ObservedGeneration: pod.Generation}
	if !isTrue {
		condition.Status, condition.Reason = corev1.ConditionFalse, reason
	}
	for i, old := range pod.Status.Conditions {
		if old.Type != kind {
			continue
		}
		if old.Status == condition.Status {
			condition.LastTransitionTime = old.LastTransitionTime
		}
		pod.Status.Conditions[i] = condition
		return
	}
	pod.Status.Conditions = append(pod.Status.Conditions, condition)
}
