// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"

	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// maxSteps bounds the cost of a decision, so that no report and no pod can hold a scheduler up. A step takes about
// 10 ns, so a decision takes at most some 30 ms.
const maxSteps = 3_000_000

// steps bounds what it costs to admit p once. Of what is above maxSteps only that matters: it is more than may be spent.
func (n *Node) steps(p *Pod) int {
	asks := n.interestsOf(p)
	numaNodes := n.numaNodes().Len()
	total := 0
	add := func(c *Container) {
		if total > maxSteps {
			return
		}
		if asks.cpus && c.CPUs > 0 {
			total += n.sets(numaNodes) + n.CPUManager.Options.Steps(n.Topology, numaNodes, c.CPUs)
		}
		if asks.memory { // The default hint is looked for without the topology manager, too.
			total += (1 + len(c.Memory)) * len(c.Memory) << min(len(n.Memory.NUMANodes), 20)
		}
		if asks.devices {
			total += n.deviceSteps(c)
		}
	}
	if n.asOne(p) {
		add(&Container{CPUs: p.PodLevel.CPUs})
	}
	containers := n.sees(p).Containers
	for i := range containers {
		add(&containers[i])
	}
	return total
}

// sets is how many sets of so many NUMA nodes hints are made of.
func (n *Node) sets(numaNodes int) int {
	if n.TopologyManager.Policy == topologymanager.PolicyNone {
		return 0
	}
	return 1 << min(numaNodes, 20)
}

// deviceSteps bounds what the devices of a container cost.
func (n *Node) deviceSteps(c *Container) int {
	total := 0
	for _, request := range c.Devices {
		r := n.Devices.Resource(request.Resource)
		if r != nil && r.Aligned() {
			total += (1 + len(r.Groups)) * n.sets(devicemanager.HintNodes(r, n.Minor, len(n.Topology.NUMANodes())).Len())
		}
	}
	return total
}

// maxCombinations is how many combinations of hints a kubelet can compare in some minutes.
const maxCombinations = 1e9

// endless says that the kubelet's topology manager would not come to an end, or "". It goes through the product of the lists
// of hints, one list for the CPUs, one for each type of memory, and one for each resource of devices (HintMerger in
// pkg/kubelet/cm/topologymanager/policy.go, v1.36.3). With single-numa-node the lists are short.
func (n *Node) endless(p *Pod) string {
	policy := n.TopologyManager.Policy
	if policy == topologymanager.PolicyNone || policy == topologymanager.PolicySingleNUMANode {
		return ""
	}
	asks := n.interestsOf(p)
	if n.TopologyManager.Scope == topologymanager.ScopePod {
		whole := Container{Name: "pod as a whole", CPUs: p.PeakCPUs(), Memory: p.peakMemory(&memorymanager.PodRequest{}, nil, n.Minor), Devices: p.peakDevices(nil)}
		return n.endlessFor(&whole, asks)
	}
	why := ""
	for i := 0; i < len(p.Containers) && why == ""; i++ {
		why = n.endlessFor(&p.Containers[i], asks)
	}
	return why
}

func (n *Node) endlessFor(c *Container, asks interests) string {
	combinations := 1.0
	list := func(numaNodes int) { combinations *= float64(uint64(1) << numaNodes) }
	if asks.cpus && c.CPUs > 0 {
		list(n.numaNodes().Len())
	}
	for k := 0; k < len(c.Memory) && asks.memory; k++ {
		list(len(n.Memory.NUMANodes))
	}
	for k := 0; k < len(c.Devices) && asks.aligned; k++ {
		r := n.Devices.Resource(c.Devices[k].Resource)
		if r != nil && r.Aligned() {
			list(devicemanager.HintNodes(r, n.Minor, len(n.Topology.NUMANodes())).Len())
		}
	}
	if combinations <= maxCombinations {
		return ""
	}
	return fmt.Sprintf("the kubelet's topology manager would compare up to %.0e combinations of hints for %s", combinations, c.Name)
}

// tooLong says that predicting an admission of p takes too long, or "". A refused pod is tried on the empty node, too.
func (n *Node) tooLong(p *Pod) string {
	if 2*n.steps(p) <= maxSteps {
		return ""
	}
	return fmt.Sprintf("predicting the CPUs of pod %s takes too long, with %d containers and %d NUMA nodes",
		p.Name, len(p.Containers), n.numaNodes().Len())
}
