// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"math/bits"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// node is one node's report, and the pods of its last NodeInfo applied to it.
type node struct {
	view *View
	name string

	mu          sync.Mutex
	report      *nodereport.Report // nil once it is deleted
	silence     silence
	uncertainty uncertainty
	absence     absence
	// fingerprint is that of the report's kubelet; 0 if it is not known.
	fingerprint uint64
	// applied is the node as the NodeInfo of a generation has it. It holds until the report changes or the uncertainty does.
	applied    verdict.Node
	generation int64 // 0 if nothing is applied
	// judged are the changes that applied takes into account, or outOfDate.
	judged int
	// until is when applied does not hold any more; zero if it holds.
	until time.Time
	// cached are the numbers of the kinds that may have a prediction for this generation.
	cached [maxKinds / 64]uint64
	// gone are granted pods that are no longer on the node, as of the last NodeInfo and since, and those that the report has
	// in part. left are the former alone. A pod never comes back.
	gone, left []types.UID
}

func (n *node) exact() bool { return n.report != nil && n.report.State == nodereport.Exact }

// reports reports whether the report has a pod, in whole or in part.
func (n *node) reports(uid types.UID) bool {
	if n.report == nil {
		return false
	}
	return n.report.Has(uid)
}

// mayDecide reports whether the kubelet decides about a pod by more than amounts, for all that is known. If it does, what others
// get depends on it.
func (n *node) mayDecide(pod *corev1.Pod) bool {
	if verdict.AsksCPUs(pod) {
		return true
	}
	if n.report == nil || n.report.Node == nil {
		return false
	}
	asks := admission.PodOf(pod)
	return n.report.Node.Decides(&asks)
}

// covers reports whether the report has all that a pod asks for.
func (n *node) covers(uid types.UID, asks *admission.Pod) bool {
	return n.report != nil && n.report.Node != nil && verdict.Covers(n.report, uid, asks)
}

// apply makes the node what predictions for a NodeInfo are made from. The NodeInfo must be newer than the one before.
func (n *node) apply(info fwk.NodeInfo) {
	n.drop()
	n.generation = info.GetGeneration()
	now := n.view.clock.Now()
	n.applied, n.until = apply(n.report, &n.uncertainty, info.Node(), holding(info.GetPods()), now)
	n.applied.Amounts = amounts(info)
	n.absence.judged(&n.applied, info.Node(), n.report, now)
	n.until = later(n.until, n.view.await(&n.applied, info.Node(), n.absence))
	if n.applied.State == nodereport.Exact {
		n.gone = n.applied.Gone
		left := n.applied.LeftUIDs()
		n.departed(left, n.left)
		stale := slices.ContainsFunc(n.reported(n.left), func(uid types.UID) bool { return !slices.Contains(left, uid) })
		n.left = left
		n.judged = n.uncertainty.changes
		if stale {
			n.judged = outOfDate // the NodeInfo still has a pod that has left
		}
	}
}

// departed counts the pods that are among some now and were not before.
func (n *node) departed(now, before []types.UID) {
	for _, uid := range now {
		if !slices.Contains(before, uid) {
			n.uncertainty.changes++
		}
	}
}

// holds reports whether applied is the node of a generation, now.
func (n *node) holds(generation int64) bool {
	return generation != 0 && n.generation == generation && (n.until.IsZero() || n.view.clock.Now().Before(n.until))
}

// apply is the node with pods that may hold exclusive CPUs: the report, the pods, and what is uncertain about them until a time.
func apply(report *nodereport.Report, u *uncertainty, on *corev1.Node, holding []*corev1.Pod, now time.Time) (applied verdict.Node, until time.Time) {
	var pods []cpuPod
	var listed []verdict.Pod
	if report.State == nodereport.Exact {
		pods = u.read(holding)
		listed = make([]verdict.Pod, len(pods))
		for i := range pods {
			pod := &pods[i]
			listed[i] = verdict.Pod{UID: pod.uid, Asks: pod.asks, After: pod.after, Unbound: !pod.heard && !pod.binding}
		}
	}
	applied = verdict.New(on, report, listed)
	if applied.State == nodereport.Exact {
		until = u.saw(pods, applied.Pods, now)
	}
	return applied, until
}

// onlyAfter says of pods that they come after no others than those that have really left.
func onlyAfter(applied *verdict.Node, left []types.UID) {
	for i := range applied.Pods {
		pod := &applied.Pods[i]
		pod.After = slices.DeleteFunc(slices.Clone(pod.After), func(uid types.UID) bool { return !slices.Contains(left, uid) })
	}
}

// amounts are kube-scheduler's. Where the kubelet can be predicted plugin NodeResourcesFit compares them.
func amounts(info fwk.NodeInfo) verdict.Amounts {
	return verdict.Amounts{
		Allocatable: info.GetAllocatable().GetMilliCPU(),
		Requested:   info.GetRequested().GetMilliCPU(),
		Counting:    verdict.CountedIfEstimated,
	}
}

// forget takes back what was predicted, here and where it was looked at: it does not hold any more, whatever the NodeInfo.
func (n *node) forget() {
	n.drop()
	n.view.forgotten(n.name)
}

// drop takes back what was predicted for the NodeInfo that is applied.
func (n *node) drop() {
	for word := range n.cached {
		for n.cached[word] != 0 {
			bit := bits.TrailingZeros64(n.cached[word])
			n.cached[word] &^= 1 << bit
			n.view.cache.forget(64*word+bit, n.generation)
		}
	}
	n.generation = 0
}

// predict makes a prediction for the NodeInfo that is applied.
func predict(applied *verdict.Node, d *verdict.Demand, generation int64, until time.Time) *Prediction {
	p := &Prediction{generation: generation, Verdict: verdict.Of(applied, d), Node: applied.Kubelet}
	if p.Obstacle == verdict.InFlight || p.State == nodereport.Awaited {
		p.Until = until
	}
	return p
}

// addGone notes a granted pod that has left the node. A static pod never leaves: what has gone is its mirror pod.
func (n *node) addGone(uid types.UID) {
	if nodereport.StaticPod(uid) {
		return
	}
	n.gone = adding(n.gone, uid)
	n.departed([]types.UID{uid}, n.left)
	n.left = adding(n.left, uid)
}

// adding adds a UID to a list that others may be reading.
func adding(uids []types.UID, uid types.UID) []types.UID {
	if slices.Contains(uids, uid) {
		return uids
	}
	return append(slices.Clone(uids), uid)
}

// keepGone drops the pods that the report does not have any more.
func (n *node) keepGone() {
	n.gone = n.reported(n.gone)
	n.left = n.reported(n.left)
}

// reported are those of a list that the report has.
func (n *node) reported(uids []types.UID) []types.UID {
	return slices.DeleteFunc(slices.Clone(uids), func(uid types.UID) bool { return !n.reports(uid) })
}
