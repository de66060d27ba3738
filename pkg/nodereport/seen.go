// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// Seen is what condition Seen of a report says.
type Seen struct {
	// Status is "" where the report has no such condition.
	Status metav1.ConditionStatus
	// Since is when the status became what it is, by the scheduler's clock.
	Since time.Time
}

func seenOf(nc *v1alpha1.NodeCPU) Seen {
	c := meta.FindStatusCondition(nc.Status.Conditions, v1alpha1.ConditionSeen)
	if c == nil {
		return Seen{}
	}
	return Seen{Status: c.Status, Since: c.LastTransitionTime.Time}
}

// AsOf is a report of a node that has not been heard from since a moment. Nothing can be predicted from it.
func (r *Report) AsOf(since time.Time) *Report {
	why := fmt.Sprintf("%s; as of then its report was %s", NotHeard(since), r.State)
	return &Report{Owner: r.Owner, State: Silent, Why: why, Granted: r.Granted, Held: r.Held, Agent: r.Agent, Seen: r.Seen}
}

// NotHeard says in a clause that a node is not heard from: "not heard from since 2026-11-30T14:02:11Z". The zero time
// is a moment that is not known.
func NotHeard(since time.Time) string {
	if since.IsZero() {
		return "not heard from"
	}
	return "not heard from since " + Moment(since)
}

// Moment is how a message names a time.
func Moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Heard reports whether the agent's pod, as the API server has it, vouches for the report. pod is nil where there is
// none of that name.
func Heard(agent v1alpha1.AgentPod, pod *corev1.Pod) bool {
	if pod == nil || pod.UID != agent.UID || pod.DeletionTimestamp != nil {
		return false
	}
	return readyCondition(pod).Status == corev1.ConditionTrue
}

func readyCondition(pod *corev1.Pod) corev1.PodCondition {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition
		}
	}
	return corev1.PodCondition{}
}

// silentAfter is for how long an agent's pod may be unready before a reader who looks only once calls its node silent. It
// is longer than what the scheduler waits, which sees the pod all the time.
const silentAfter = time.Minute

// Silence reports whether a node is not heard from, for a reader who looks once: by the agent's pod if pods are known, and
// else by condition Seen. since is when that began, the zero time where it is not known. pod gives a pod by namespace and
// name, and nil where there is none; it is nil itself where pods are not known.
func Silence(nc *v1alpha1.NodeCPU, pod func(namespace, name string) *corev1.Pod, now time.Time) (since time.Time, silent bool) {
	seen := seenOf(nc)
	told := seen.Status == metav1.ConditionFalse
	if told {
		since = seen.Since
	}
	agent := nc.Status.Agent
	if agent == nil || pod == nil {
		return since, told
	}
	object := pod(agent.Namespace, agent.Name)
	switch {
	case Heard(*agent, object):
		return time.Time{}, false
	case told || object == nil || object.UID != agent.UID:
		return since, true
	}
	changed := readyCondition(object).LastTransitionTime.Time
	return changed, !changed.IsZero() && now.Sub(changed) >= silentAfter
}
