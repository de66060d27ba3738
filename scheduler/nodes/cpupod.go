// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/verdict"
)

// patience is how many reports may come without a pod that has run for steady. After that the pod is believed to have no
// exclusive CPUs: the second of these reports was begun after the pod was seen to run. One is not enough, because pods and
// reports come by two watches, and one may be behind the other.
const (
	patience = 2
	steady   = time.Minute
)

// answerWithin is how long a report is waited for on account of one pod that its kubelet has heard of. An agent reports
// within a second, and one that does not is not waited for without end. After that the pod's place is kept.
const answerWithin = 5 * time.Minute

// maxPassed is how many pods that have passed are remembered beside one in flight. With more it is doubtful.
const maxPassed = 8

// cpuPod is a pod of a NodeInfo that may hold exclusive CPUs.
type cpuPod struct {
	object *corev1.Pod // as read; a pod that has changed is another object
	uid    types.UID   // the one it has on its node
	asks   *admission.Pod
	// claim is empty of a pod that this scheduler has not assumed.
	claim
	// gone reports that it has left, or is not bound after all. The next NodeInfo will be without it.
	gone bool
	// inFlight reports that it asks for exclusive CPUs and the last report does not cover it.
	inFlight bool
	// reported reports that a report has covered it.
	reported bool
	// patience is how many reports may still come before one must have the pod. While it is above 0, the pod may have been
	// admitted beside others that nobody knows (doubtful), or beside some that have passed (beside).
	patience int
	doubtful bool
	beside   []verdict.Passed
	// heard reports that a kubelet has heard of it, as far as is known.
	heard bool
	// until is when its report is not waited for any more; zero before that began.
	until time.Time
	// answers are the reports that have come without it since it has been running for steady.
	answers int
}

// settled reports that reports have answered twice without the pod: it has no exclusive CPUs.
func (p *cpuPod) settled() bool { return p.answers >= patience }

// awaited reports whether a report is waited for on the pod's account.
func (p *cpuPod) awaited(now time.Time) bool {
	return p.heard && !p.settled() && (p.until.IsZero() || now.Before(p.until))
}

// disturb takes the pods that have passed, and whether there may be others.
func (p *cpuPod) disturb(passed []verdict.Passed, unknown bool) {
	if len(passed) == 0 && !unknown {
		return
	}
	if p.patience == 0 {
		p.doubtful = false
		p.beside = nil
	}
	p.patience = patience
	p.doubtful = p.doubtful || unknown
	for _, pod := range passed {
		if !slices.ContainsFunc(p.beside, func(known verdict.Passed) bool { return known.UID == pod.UID }) {
			p.beside = append(slices.Clip(p.beside), pod)
		}
	}
	if len(p.beside) > maxPassed {
		p.doubtful = true
		p.beside = nil
	}
}

// shown says that a report has the pod.
func (p *cpuPod) shown() {
	p.reported = true
	p.patience = 0
	p.answers = 0
	p.until = time.Time{}
}

// judge says how a pod that the report does not have is in flight.
func (p *cpuPod) judge(applied *verdict.Pod, now time.Time) {
	applied.InFlight = applied.InFlight && !p.settled()
	p.inFlight = applied.InFlight
	if p.heard && p.inFlight && p.until.IsZero() {
		p.until = now.Add(answerWithin)
	}
	applied.Kept = !p.awaited(now)
	if p.patience > 0 && !applied.Kept {
		applied.Doubtful = p.doubtful
		applied.Beside = p.beside
	}
}

// runsSteadily reports whether the kubelet has admitted the pod so long ago that a report should have it.
func (p *cpuPod) runsSteadily(now time.Time) bool {
	status := &p.object.Status
	admitted := status.Phase == corev1.PodRunning || status.Phase == corev1.PodPending && status.StartTime != nil
	return admitted && !startedAfter(p.object, now.Add(-steady))
}

// answer takes a report without the pod. The times in a pod's status are its node's. So a pod is only settled when this
// clock says the same.
func (p *cpuPod) answer(now time.Time) (ends bool) {
	if p.patience > 0 {
		p.patience--
		ends = p.patience == 0
	}
	seen := !p.until.IsZero() && !now.Before(p.until.Add(steady-answerWithin))
	if p.inFlight && seen && !p.settled() {
		p.answers++
		ends = ends || p.settled()
	}
	return ends
}

func startedAfter(pod *corev1.Pod, moment time.Time) bool {
	start := pod.Status.StartTime
	return start != nil && start.After(moment)
}
