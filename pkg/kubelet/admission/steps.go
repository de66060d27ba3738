package admission

import (
	"fmt"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// maxSteps bounds the cost of a decision, so that no report and no pod can hold a scheduler up. A step takes about
// 10 ns, so a decision takes at most some 30 ms.
const maxSteps = 3_000_000

// steps bounds what it costs to admit p once. It is no more than a little above maxSteps.
func (n *Node) steps(p *Pod) int {
	numaNodes := n.numaNodes().Len()
	hints := 0
	if n.TopologyManager.Policy != topologymanager.PolicyNone {
		hints = 1 << min(numaNodes, 30) // sets of NUMA nodes
	}
	total := 0
	add := func(need int) {
		if need > 0 && total <= maxSteps {
			total += min(maxSteps, hints+n.CPUManager.Options.Steps(n.Topology, numaNodes, need))
		}
	}
	if n.asOne(p) {
		add(p.PodLevel.CPUs)
	}
	containers := n.sees(p).Containers
	for i := range containers {
		add(containers[i].CPUs)
	}
	return total
}

// tooLong says that predicting an admission of p takes too long, or "". A refused pod is tried on the empty node, too.
func (n *Node) tooLong(p *Pod) string {
	if 2*n.steps(p) <= maxSteps {
		return ""
	}
	return fmt.Sprintf("predicting the CPUs of pod %s takes too long, with %d containers and %d NUMA nodes",
		p.Name, len(p.Containers), n.numaNodes().Len())
}

// ordersTooLong reports whether admitting the pods in every order takes too long.
func (n *Node) ordersTooLong(pods []*Pod) bool {
	total := 0
	for _, p := range pods {
		total += n.steps(p)
	}
	// Of m pods, m!/(m-k)! begin the orders with k pods. A pod after the new one is admitted twice.
	admissions := 0
	beginnings := 1
	for k := range pods {
		beginnings *= len(pods) - k
		admissions += 2 * beginnings
	}
	return total/len(pods)*admissions > maxSteps
}
