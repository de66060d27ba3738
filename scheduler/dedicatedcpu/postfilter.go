// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/explaining"
)

// The stock plugin that counts, and its reason for a node where CPUs alone are too few
// (pkg/scheduler/framework/plugins/noderesources/fit.go, v1.36.3).
const (
	countingPlugin  = "NodeResourcesFit"
	insufficientCPU = "Insufficient cpu"
)

// explainAgain is when a pod is tried again that was explained while other pods were in flight: the reports of those have
// come by then.
const explainAgain = 15 * time.Second

// PostFilter is called for a pod that found no node, after preemption found none either. It hands the nodes that are
// nearest to taking the pod to the explainer; for the pod nothing changes. Nodes that another plugin refused are not
// looked at, unless it refused them for the count of CPUs only.
func (pl *DedicatedCPU) PostFilter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, statuses fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	nothing := fwk.NewStatus(fwk.Unschedulable)
	c := readCycle(state)
	if c == nil {
		return nil, nothing
	}
	if c.narrowed {
		pl.lookAtAll(ctx, pod)
		return nil, nothing
	}
	if !pl.explainer.Due(pod.UID) {
		return nil, nothing
	}
	nodes, err := pl.snapshot().NodeInfos().List()
	if err != nil {
		klog.FromContext(ctx).Error(err, "nodes are not explained", "pod", klog.KObj(pod))
		return nil, nothing
	}
	q := explaining.Question{Pod: pod, Demand: c.Demand, About: pl.vms.About(pod)}
	nearest := pl.nearest(c, nodes, statuses, &q)
	pl.held.set(pod.UID, q.WithRoomByCount > 0)
	if q.Refused == 0 {
		return nil, nothing
	}
	passing := false
	for _, info := range nearest {
		n := pl.view.Node(pl.withNominated(info, pod), func(other *corev1.Pod) string { return displayName(other, pod.Namespace) })
		passing = passing || slices.ContainsFunc(n.Pods, func(p verdict.Pod) bool { return p.InFlight })
		q.Nodes = append(q.Nodes, n)
	}
	if passing {
		// What is said now of pods in flight will not be true for long. Then it is said anew.
		pl.waker.RetryIn(pod.UID, explainAgain)
	}
	pl.explainer.Ask(q)
	return nil, nothing
}

// nearest returns the nodes that lack the fewest CPUs. It counts in q those that were refused for CPUs. Nodes that wait for
// a report do not count: they will be asked again in a moment.
func (pl *DedicatedCPU) nearest(c *cycle, nodes []fwk.NodeInfo, statuses fwk.NodeToStatusReader, q *explaining.Question) (nearest []fwk.NodeInfo) {
	type ranked struct {
		info    fwk.NodeInfo
		missing int
	}
	best := make([]ranked, 0, explaining.MaxNodes+1)
	for _, info := range nodes {
		status := statuses.Get(info.Node().Name)
		missing, ours := pl.missing(c, q.Pod, info, status)
		if !ours {
			continue
		}
		q.Refused++
		if status.Plugin() == Name && unrequested(info) >= c.Millicores() && status.Message() != ReasonNoLabel {
			q.WithRoomByCount++
			q.NodeWithRoom = cmp.Or(q.NodeWithRoom, info.Node().Name)
		}
		if len(best) == explaining.MaxNodes && missing >= best[explaining.MaxNodes-1].missing {
			continue
		}
		best = append(best, ranked{info, missing})
		slices.SortStableFunc(best, func(a, b ranked) int { return cmp.Compare(a.missing, b.missing) })
		best = best[:min(len(best), explaining.MaxNodes)]
	}
	for _, r := range best {
		nearest = append(nearest, r.info)
	}
	return nearest
}

// withNominated is a node as Filter was asked about it: beside the pods that are nominated there and not less important.
// kube-scheduler adds them to a copy of the node (addGENominatedPods in pkg/scheduler/framework/runtime/framework.go, v1.36.3).
func (pl *DedicatedCPU) withNominated(info fwk.NodeInfo, pod *corev1.Pod) fwk.NodeInfo {
	beside := info
	for _, other := range pl.nominated(info.Node().Name) {
		if corev1helpers.PodPriority(other.GetPod()) < corev1helpers.PodPriority(pod) || other.GetPod().UID == pod.UID {
			continue
		}
		if beside == info {
			beside = info.Snapshot()
		}
		beside.AddPodInfo(other)
	}
	return beside
}

// unrequested are the allocatable millicores of a node that no pod requests.
func unrequested(info fwk.NodeInfo) int64 {
	return info.GetAllocatable().GetMilliCPU() - info.GetRequested().GetMilliCPU()
}

// missing is about how many CPUs a refused node lacks. ours is false if the node was refused for anything but CPUs.
func (pl *DedicatedCPU) missing(c *cycle, pod *corev1.Pod, info fwk.NodeInfo, status *fwk.Status) (missing int, ours bool) {
	switch {
	case status.Plugin() == countingPlugin && slices.Equal(status.Reasons(), []string{insufficientCPU}):
		return max(1, c.Pod.PeakCPUs()-int(unrequested(info)/1000)), true
	case status.Plugin() != Name || status.Code() == fwk.Pending || slices.Contains(status.Reasons(), ReasonLate):
		return 0, false
	}
	p := c.predict(info)
	beside := pl.withNominated(info, pod)
	if beside != info {
		p = c.query.Simulate(beside)
	}
	switch p.Obstacle {
	case verdict.Kubelet:
		return explain.Missing(p.Node, &c.Pod, &p.Decision), true
	case verdict.Guest, verdict.Restart, verdict.Kept:
		return 1, true
	}
	return math.MaxInt, true
}

// displayName is how an event in namespace reader names a pod. A reader of that namespace's events must not learn what
// runs in others.
func displayName(pod *corev1.Pod, reader string) string {
	l, isLauncher := launcher.Of(pod)
	switch {
	case pod.Namespace != reader && isLauncher:
		return "a VM of another namespace"
	case pod.Namespace != reader:
		return "a pod of another namespace"
	case isLauncher && l.VMI.Name != "":
		return fmt.Sprintf("VM %s/%s", pod.Namespace, l.VMI.Name)
	}
	return fmt.Sprintf("pod %s/%s", pod.Namespace, pod.Name)
}
