package nodeview

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/kubelet/admission"
)

// Case is what Predict goes by, for package explain to say in words: pod, whose demand is given, on a node. It
// is for pods that found no node. The caller adds what only it knows: the label, the VM. name is how to call
// the pods that are there.
func (v *View) Case(pod *corev1.Pod, demand *Demand, nodeInfo fwk.NodeInfo, name func(*corev1.Pod) string) explain.Case {
	c := explain.Case{NodeName: nodeInfo.Node().Name, Pod: demand.Pod}
	if !demand.Pod.PodLevelResources {
		c.Count = explain.NewCount(nodeInfo.GetAllocatable().GetMilliCPU(), nodeInfo.GetRequested().GetMilliCPU(), pod)
	}
	n := v.node(c.NodeName)
	if n == nil {
		c.Unknown = unknownText[v.absent()]
		return c
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := unknown(n.report, nodeInfo.Node().UID, demand); p != nil {
		c.Unknown = unknownText[p.Standing]
		switch p.Standing {
		case Missing:
			if n.report != nil {
				c.Unknown = "has no CPU report (NodeCPU) but that of an earlier Node of its name; does corepin-agent run there?"
			}
		case NoCPUManager:
			c.Node = n.report.node
		case Newer, Unreadable, Inexact:
			c.Unknown += p.Why
		}
		return c
	}
	if !n.laid || n.generation != nodeInfo.GetGeneration() {
		n.lay(nodeInfo)
	}
	c.Node, c.Left = n.overlay.node, n.overlay.unsettled
	for i := range n.pods {
		if neighbour, has := n.neighbour(&n.pods[i]); has {
			neighbour.Name = name(n.pods[i].pod)
			c.Neighbours = append(c.Neighbours, neighbour)
		}
	}
	return c
}

// neighbour is a pod of the NodeInfo, if it has exclusive CPUs or will have.
func (n *node) neighbour(r *resident) (explain.Neighbour, bool) {
	if !r.asks.Exclusive() {
		return explain.Neighbour{}, false
	}
	requests := resourcehelper.PodRequests(r.pod, resourcehelper.PodResourcesOptions{UseStatusResources: true})
	neighbour := explain.Neighbour{Millicores: requests.Cpu().MilliValue()}
	if !n.report.covers(r.uid, r.asks) {
		neighbour.InFlight = r.asks
		return neighbour, true
	}
	neighbour.CPUs = admission.Decision{Grants: n.report.granted[r.uid]}.Granted()
	return neighbour, true
}

// unknownText says of a node that cannot be predicted why, after its name; for some standings the report's own
// words follow.
var unknownText = map[Standing]string{
	Missing:      "has no CPU report (NodeCPU); does corepin-agent run there?",
	Unlisted:     "has no CPU report that the scheduler could list",
	Starting:     "has a CPU report that is still being listed",
	Newer:        "has a CPU report of a newer corepin: ",
	Unreadable:   "has a CPU report that can't be read: ",
	NoCPUManager: "has no static CPU manager",
	Inexact:      "cannot be predicted: ",
}
