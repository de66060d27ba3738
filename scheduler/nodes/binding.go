// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// Binding takes that a pod which was assumed on a node is about to be bound. It returns a verdict if the pod must not be
// bound, and nil if it may be. on is the node, and bound returns the pods that are bound to it, as the API server has them.
//
// Minutes may lie between the verdict about a pod and its binding: it waits for its volumes, or for its group. Meanwhile others may
// have left the node, or another scheduler has bound a pod to it. Then the kubelet may hear of pods in orders that nobody has
// tried, and the pod is judged once more. It may be bound if its kubelet still admits it in every order.
func (v *View) Binding(on *corev1.Node, bound func() []*corev1.Pod, uid types.UID, demand *verdict.Demand) *verdict.Verdict {
	n := v.node(on.Name)
	if n == nil {
		return &verdict.Verdict{Obstacle: verdict.Report, State: v.absent().State}
	}
	defer v.calls.End(v.calls.Begin(predicting, on.Name))
	n.mu.Lock()
	defer n.mu.Unlock()
	u := &n.uncertainty
	if n.report == nil || u.judgedBefore(uid) {
		judged, left := n.judgeAgain(on, bound(), uid, demand)
		if judged.State != nodereport.Exact || !judged.Fits() {
			return &judged
		}
		u.changeClaim(uid, func(c *claim) { *c = claim{after: left, judged: u.changes, binding: true} })
		n.forget()
		return nil
	}
	u.changeClaim(uid, func(c *claim) { c.binding = true })
	return nil
}

// judgeAgain is the verdict about a pod that is assumed, as the node is now, and the granted pods that have left it.
func (n *node) judgeAgain(on *corev1.Node, bound []*corev1.Pod, uid types.UID, demand *verdict.Demand) (verdict.Verdict, []types.UID) {
	now := n.view.clock.Now()
	report := n.report
	if report == nil {
		report = n.view.absent()
	}
	u := n.uncertainty.clone()
	applied, _ := apply(report, &u, on, u.beside(bound, uid), now)
	absence := n.absence
	absence.judged(&applied, on, report, now)
	n.view.await(&applied, on, absence)
	return verdict.Of(&applied, demand), applied.LeftUIDs()
}

// countFreed counts the pods that the report has and the next one has no longer.
func (n *node) countFreed(next *nodereport.Report) {
	if n.report == nil {
		return
	}
	for uid := range n.report.Pods() {
		if !next.Has(uid) {
			n.uncertainty.changes++
		}
	}
}

// outOfDate stands for changes where a node was judged as it was some time ago. It is never the number of changes, so a pod that gets
// its place there is judged again before it is bound.
const outOfDate = -1

// judgedBefore reports whether the node has changed since a pod was judged, or nothing is known of it.
func (u *uncertainty) judgedBefore(uid types.UID) bool {
	pod, assumed := u.bound[uid]
	if assumed {
		return pod.judged != u.changes
	}
	at := u.find(uid)
	return at < 0 || u.pods[at].judged != u.changes
}

// changeClaim changes what is known of a pod's place, wherever it is kept.
func (u *uncertainty) changeClaim(uid types.UID, change func(c *claim)) {
	at := u.find(uid)
	if at >= 0 {
		change(&u.pods[at].claim)
	}
	pod, assumed := u.bound[uid]
	if assumed {
		change(&pod.claim)
		u.bound[uid] = pod
	}
}

// beside are the pods that a pod is to be bound beside: those that are bound to the node, and those that this scheduler has
// assumed there.
func (u *uncertainty) beside(bound []*corev1.Pod, uid types.UID) []*corev1.Pod {
	pods := slices.DeleteFunc(slices.Clone(bound), func(pod *corev1.Pod) bool { return !verdict.MayHold(pod) || pod.UID == uid })
	listed := map[types.UID]bool{uid: true}
	for _, pod := range pods {
		listed[pod.UID] = true
	}
	add := func(pod *corev1.Pod) {
		if !listed[pod.UID] {
			listed[pod.UID] = true
			pods = append(pods, pod)
		}
	}
	for i := range u.pods {
		if verdict.Unheard(u.pods[i].object) && !u.pods[i].gone {
			add(u.pods[i].object)
		}
	}
	for _, other := range slices.Sorted(maps.Keys(u.bound)) {
		add(u.bound[other].object)
	}
	return pods
}
