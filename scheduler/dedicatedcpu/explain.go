package dedicatedcpu

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodeview"
)

var _ fwk.PostFilterPlugin = (*DedicatedCPU)(nil)

// mostExplained is how many nodes an event tells of.
const mostExplained = 3

// The stock plugin that counts, and its reason for a node where CPUs alone are too few
// (pkg/scheduler/framework/plugins/noderesources/fit.go, v1.36.3).
const (
	countingPlugin  = "NodeResourcesFit"
	insufficientCPU = "Insufficient cpu"
)

// PostFilter is called for a pod that found no node, after preemption found none to make room on. The nodes that
// are nearest to taking the pod are handed to the explainer; nothing comes of it for the pod. Nodes that another
// plugin refused, for anything but the count of CPUs, are not looked at.
func (pl *DedicatedCPU) PostFilter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, statuses fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	nothing := fwk.NewStatus(fwk.Unschedulable)
	c := read(state)
	if c == nil || pl.explainer == nil || !pl.explainer.due(pod.UID) {
		return nil, nothing
	}
	nodes, err := pl.explainer.snapshot().NodeInfos().List()
	if err != nil {
		klog.FromContext(ctx).Error(err, "nodes are not explained", "pod", klog.KObj(pod))
		return nil, nothing
	}
	near, refused := pl.nearest(c, nodes, statuses)
	if refused == 0 {
		return nil, nothing
	}
	q := question{pod: pod, demand: c.Pod, refused: refused}
	for _, info := range near {
		q.cases = append(q.cases, pl.caseOf(pod, c.demand, info))
	}
	pl.explainer.ask(q)
	return nil, nothing
}

// nearest are the nodes that lack the fewest CPUs, and how many were refused for CPUs in all. Nodes that wait
// for a report are among neither: they will be asked again in a moment.
func (pl *DedicatedCPU) nearest(c *cycle, nodes []fwk.NodeInfo, statuses fwk.NodeToStatusReader) (near []fwk.NodeInfo, refused int) {
	type ranked struct {
		info    fwk.NodeInfo
		missing int
	}
	best := make([]ranked, 0, mostExplained+1)
	for _, info := range nodes {
		missing, ours := pl.missing(c, info, statuses.Get(info.Node().Name))
		if !ours {
			continue
		}
		refused++
		if len(best) == mostExplained && missing >= best[mostExplained-1].missing {
			continue
		}
		best = append(best, ranked{info, missing})
		slices.SortStableFunc(best, func(a, b ranked) int { return cmp.Compare(a.missing, b.missing) })
		best = best[:min(len(best), mostExplained)]
	}
	for _, r := range best {
		near = append(near, r.info)
	}
	return near, refused
}

// missing is how many CPUs a refused node lacks, about; ours tells whether CPUs are what it was refused for.
func (pl *DedicatedCPU) missing(c *cycle, info fwk.NodeInfo, status *fwk.Status) (missing int, ours bool) {
	switch {
	case status.Plugin() == countingPlugin && slices.Equal(status.Reasons(), []string{insufficientCPU}):
		left := info.GetAllocatable().GetMilliCPU() - info.GetRequested().GetMilliCPU()
		own := 0
		for _, container := range c.Pod.Containers {
			own += container.CPUs
		}
		return max(1, own-int(left/1000)), true
	case status.Plugin() != Name || status.Code() == fwk.Pending:
		return 0, false
	}
	p := pl.predict(c, info)
	if p.Standing != nodeview.Exact {
		return math.MaxInt, true
	}
	if p.Decision.Verdict != kubeletcpu.Refused {
		return 1, true // the CPUs would not do for the VM
	}
	return explain.Missing(p.Node, &c.Pod, &p.Decision), true
}

// caseOf is a node as package explain wants it.
func (pl *DedicatedCPU) caseOf(pod *corev1.Pod, d *demand, info fwk.NodeInfo) explain.Case {
	c := pl.view.Case(pod, &d.Demand, info, func(neighbour *corev1.Pod) string { return called(neighbour, pod.Namespace) })
	c.Dedicated = d.launcher
	c.Unlabelled = !pl.eligible(info.Node())
	c.Estimate = pl.args.NodesWithoutExactReport == config.Estimate
	if d.guest != nil {
		c.Guest, c.Compute = &d.guest.Guest, d.guest.compute
	}
	return c
}

// called is how a pod is named in an event in namespace reader. Who may read the events of one namespace may not
// know what runs in the others.
func called(pod *corev1.Pod, reader string) string {
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
