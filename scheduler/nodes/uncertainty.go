// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/verdict"
)

// lateness is how late a report may be. An agent may have been away from the API server for as long as a pod has run.
const lateness = time.Hour

// uncertainty is what may have happened on a node without any report of it.
//
// A pod may be bound, admitted and deleted before a report has it. The CPUs of a pod that was in flight at the same time
// depend on it, and nothing that can be read shows any more that it was there. So the pods in flight are remembered. When
// one of them goes unreported, it may have been beside the others until a report has them. In a scheduler that has just
// started, all pods are doubtful whose report may still be on its way: nobody knows what was beside them.
//
// No report can have a pod that no kubelet has heard of. Nothing depends on whether such a pod comes or goes, and nothing
// is waited for on its account. That is so while a pod that is only assumed waits for its volumes. And a pod that
// reports have had the time to show gets nothing from its kubelet: see answerWithin and patience.
//
// Its events are: saw (a NodeInfo), assumed, hears, unbound and left (one pod), and reported or answered (a report). Its
// results are Pod.Doubtful, Pod.Beside, Pod.Kept, and pods that are not in flight any more.
type uncertainty struct {
	began time.Time // when the view did
	// pods are those of the last NodeInfo that may hold exclusive CPUs.
	pods []cpuPod
	// bound are pods that this scheduler has bound here and that no NodeInfo has shown yet.
	bound map[types.UID]boundPod
	// told are pods that are bound here, and of which neither pods nor bound has anything yet.
	told map[types.UID]bool
	// known reports that a NodeInfo has been seen.
	known bool
	// passed are the pods that have gone unreported since the last NodeInfo.
	passed []verdict.Passed
	// unseen reports that a pod has gone unreported since the last report.
	unseen bool
	// changes counts what a place may not outlast: pods that have left the node, those that a report has no longer, and those
	// that others have bound there.
	changes int
}

// boundPod is a pod that this scheduler has assumed here.
type boundPod struct {
	object *corev1.Pod
	asks   *admission.Pod
	claim
	heard bool // it is bound: the kubelet has heard of it
}

// claim is what is known of the place of a pod that this scheduler has assumed.
type claim struct {
	// after are granted pods that had left the node before the pod was assumed or, if later, was about to be bound.
	after []types.UID
	// judged are the changes that its verdict took into account.
	judged int
	// binding reports that it may be bound: its kubelet may hear of it at any time.
	binding bool
}

// holding are the pods of a NodeInfo that may hold exclusive CPUs.
func holding(infos []fwk.PodInfo) []*corev1.Pod {
	pods := make([]*corev1.Pod, 0, len(infos))
	for _, info := range infos {
		pod := info.GetPod()
		if verdict.MayHold(pod) {
			pods = append(pods, pod)
		}
	}
	return pods
}

// read returns what is known of pods that may hold exclusive CPUs. A pod that has not changed since the last NodeInfo is
// not read again. Pods mostly keep their order, so each is looked for behind the last one found.
func (u *uncertainty) read(pods []*corev1.Pod) []cpuPod {
	before := u.pods
	now := make([]cpuPod, 0, len(before)+1)
	next := 0
	for _, pod := range pods {
		at := next
		for n := 0; n < len(before) && before[at%len(before)].object != pod; n++ {
			at++
		}
		if len(before) > 0 && before[at%len(before)].object == pod {
			now = append(now, before[at%len(before)])
			next = at + 1
			continue
		}
		asks := admission.PodOf(pod)
		p := cpuPod{uid: verdict.UIDOnNode(pod)}
		at = u.find(p.uid)
		if at >= 0 {
			p = before[at]
		}
		p.object = pod
		p.asks = &asks
		bound, ours := u.bound[p.uid]
		switch {
		case ours:
			p.claim = bound.claim
			p.gone = false
		case at < 0:
			u.changes++ // another scheduler has bound it
		}
		p.heard = p.heard || !verdict.Unheard(pod) || bound.heard || u.told[p.uid]
		now = append(now, p)
	}
	return now
}

func (u *uncertainty) find(uid types.UID) int { return find(u.pods, uid) }

func find(pods []cpuPod, uid types.UID) int {
	return slices.IndexFunc(pods, func(pod cpuPod) bool { return pod.uid == uid })
}

// saw takes the pods of a NodeInfo, as read returned them, and as the report says of them. It completes the latter. It
// returns until when they hold as they are; zero if time changes nothing.
func (u *uncertainty) saw(pods []cpuPod, applied []verdict.Pod, now time.Time) (until time.Time) {
	u.lost(pods)
	for i := range pods {
		pod := &pods[i]
		applied[i].SetStage(pod.object)
		if applied[i].Covered() {
			pod.inFlight = applied[i].InFlight
			pod.shown()
			continue
		}
		if pod.heard {
			pod.disturb(u.passed, !u.known && u.begunWith(pod.object))
		}
		pod.judge(&applied[i], now)
		if applied[i].Awaited() {
			until = later(until, pod.until)
		}
	}
	u.pods = pods
	u.bound = nil
	maps.DeleteFunc(u.told, func(uid types.UID, _ bool) bool { return u.find(uid) >= 0 })
	u.known = true
	u.passed = nil
	return until
}

// lost notes the pods in flight that are no longer on the node and that no report has had.
func (u *uncertainty) lost(now []cpuPod) {
	for i := range u.pods {
		pod := &u.pods[i]
		if pod.inFlight && pod.heard && find(now, pod.uid) < 0 {
			u.changes++
			if !pod.reported {
				u.pass(pod.uid, pod.asks)
			}
		}
	}
	for uid, pod := range u.bound {
		if pod.heard && find(now, uid) < 0 {
			u.pass(uid, pod.asks)
		}
	}
}

// pass notes a pod that has gone unreported, once.
func (u *uncertainty) pass(uid types.UID, asks *admission.Pod) {
	u.unseen = true
	same := func(p verdict.Passed) bool { return p.UID == uid }
	if !slices.ContainsFunc(u.passed, same) && !slices.ContainsFunc(u.pods, func(pod cpuPod) bool { return slices.ContainsFunc(pod.beside, same) }) {
		u.passed = append(slices.Clip(u.passed), verdict.Passed{UID: uid, Asks: asks})
	}
}

// begunWith reports whether the report of a pod could still have been on its way when the view began: the pod does not run
// yet, or has not for long. One that has run for long, and that no report has, got no CPUs: the CPU manager came later.
func (u *uncertainty) begunWith(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodRunning || startedAfter(pod, u.began.Add(-lateness))
}

// assumed takes a pod that this scheduler is to bind to the node.
func (u *uncertainty) assumed(pod *corev1.Pod, asks *admission.Pod, c claim) {
	if u.bound == nil {
		u.bound = map[types.UID]boundPod{}
	}
	u.bound[pod.UID] = boundPod{object: pod, asks: asks, claim: c}
}

// hears takes a pod that is bound here. It reports whether that is news about a pod of the last NodeInfo.
func (u *uncertainty) hears(uid types.UID) (news bool) {
	pod, assumed := u.bound[uid]
	if assumed {
		pod.heard = true
		u.bound[uid] = pod
	}
	at := u.find(uid)
	if at >= 0 {
		news = !u.pods[at].heard
		u.pods[at].heard = true
	} else if !assumed {
		if u.told == nil {
			u.told = map[types.UID]bool{}
		}
		u.told[uid] = true
	}
	return news
}

// heard are the pods that the kubelet has heard of, and that may still be there.
func (u *uncertainty) heard() map[types.UID]bool {
	heard := map[types.UID]bool{}
	maps.Copy(heard, u.told)
	for i := range u.pods {
		if u.pods[i].heard && !u.pods[i].gone {
			heard[u.pods[i].uid] = true
		}
	}
	for uid, pod := range u.bound {
		if pod.heard {
			heard[uid] = true
		}
	}
	return heard
}

// unbound takes a pod that was assumed here and is not bound. It reports whether other pods have become doubtful.
func (u *uncertainty) unbound(uid types.UID, asks *admission.Pod) (disturbed bool) {
	at := u.find(uid)
	if u.bound[uid].heard || at >= 0 && u.pods[at].heard {
		return u.left(uid, asks)
	}
	if at >= 0 {
		u.pods[at].gone = true
	}
	delete(u.bound, uid)
	return false
}

// awaits reports whether a report is waited for on a pod's account.
func (u *uncertainty) awaits(uid types.UID, pod *corev1.Pod, now time.Time) bool {
	at := u.find(uid)
	if at >= 0 {
		return u.pods[at].awaited(now)
	}
	return u.bound[uid].heard || u.told[uid] || !verdict.Unheard(pod)
}

// left takes a pod that has left the node for good, and that the last report does not have. It reports whether other pods
// have become doubtful.
func (u *uncertainty) left(uid types.UID, asks *admission.Pod) (disturbed bool) {
	u.changes++
	at := u.find(uid)
	_, assumed := u.bound[uid]
	if at >= 0 {
		u.pods[at].gone = true
	}
	if at >= 0 && u.pods[at].reported && !assumed {
		return false
	}
	delete(u.bound, uid)
	delete(u.told, uid)
	u.pass(uid, asks)
	return true
}

// reported takes a report that says something new: covered reports whether it covers a pod. It reports whether a pod has
// gone unreported since the report before.
func (u *uncertainty) reported(now time.Time, covered func(uid types.UID, asks *admission.Pod) bool) (unseen bool) {
	u.answered(now, covered)
	unseen = u.unseen
	u.unseen = false
	return unseen
}

// answered takes any report. It reports whether that ends a doubt, or that a pod is in flight.
func (u *uncertainty) answered(now time.Time, covered func(uid types.UID, asks *admission.Pod) bool) (ends bool) {
	for i := range u.pods {
		pod := &u.pods[i]
		switch {
		case covered(pod.uid, pod.asks):
			pod.inFlight = false
			pod.shown()
		case pod.runsSteadily(now):
			ends = pod.answer(now) || ends
		}
	}
	for uid, pod := range u.bound {
		if covered(uid, pod.asks) {
			delete(u.bound, uid)
		}
	}
	return ends
}

// inFlight returns what the pods in flight ask for, in the order in which they came.
func (u *uncertainty) inFlight() []*admission.Pod {
	var pods []*admission.Pod
	for i := range u.pods {
		if u.pods[i].inFlight {
			pods = append(pods, u.pods[i].asks)
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(u.bound)) {
		if u.find(uid) < 0 {
			pods = append(pods, u.bound[uid].asks)
		}
	}
	return pods
}

// clone is a copy to try something on.
func (u *uncertainty) clone() uncertainty {
	c := *u
	c.pods = slices.Clone(u.pods)
	c.bound = maps.Clone(u.bound)
	c.told = maps.Clone(u.told)
	return c
}
