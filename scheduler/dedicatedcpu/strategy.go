package dedicatedcpu

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodeview"
)

// sizes are the VMs, by number of CPUs, of which LeastFragmentation asks how many a node could still take.
// They are those that people give to VMs, not those of the VMs at hand: what comes next is not known, and a
// node's rating must not depend on what came before.
var sizes = [...]int{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64}

// space is what a node has for VMs: CPUs that can be granted, and, since a sidecar runs beside each VM, what
// NodeResourcesFit has left.
type space struct {
	node  *kubeletcpu.Node
	free  cpuset.Set
	milli int64
}

// beforeAndAfter is the space of a node without the pod and with it. Where the pod's CPUs depend on pods in
// flight, those of every possible grant count as gone.
func beforeAndAfter(d *demand, p *nodeview.Prediction, nodeInfo fwk.NodeInfo) (before, after space) {
	milli := nodeInfo.GetAllocatable().GetMilliCPU() - nodeInfo.GetRequested().GetMilliCPU()
	before = space{p.Node, p.Node.Free(), milli}
	after = space{p.Node, p.Decision.Shared.Minus(p.Node.Reserved), milli - 1000*int64(exclusive(&d.Pod)) - d.beside}
	return before, after
}

// rating says how good a node would be after the pod; more is better.
func rating(strategy config.ScoringStrategy, d *demand, p *nodeview.Prediction, nodeInfo fwk.NodeInfo) int64 {
	before, after := beforeAndAfter(d, p, nodeInfo)
	switch strategy {
	case config.MostFree:
		return after.share()
	case config.MostAllocated:
		return -after.share()
	}
	return -lost(&before, &after, d.beside)
}

// share is the part, in millionths, of a node's exclusive CPUs that VMs can still have.
func (s *space) share() int64 {
	all := int64(s.node.Topology.CPUs().Minus(s.node.Reserved).Len())
	if all == 0 {
		return 0
	}
	return 1_000_000 * max(0, min(int64(s.free.Len()), s.milli/1000)) / all
}

// lost is the price of a placement: for each of sizes the CPUs of the VMs of that size that the node could
// take before and cannot take after, all summed up. Every placement costs its own CPUs; what it costs more is
// fragmentation. So a VM goes where its CPUs were of no use to others: VMs of even size onto nodes that grant
// whole cores only, small ones into NUMA nodes that are not whole anyway. Where that is equal, what was whole
// stays whole.
func lost(before, after *space, beside int64) int64 {
	b, a := before.units(), after.units()
	var sum int64
	for _, size := range sizes {
		sum += int64(size) * int64(before.room(&b, size, beside)-after.room(&a, size, beside))
	}
	return sum*wholeWeight + int64(broken(before, after))
}

// wholeWeight is more than broken can be.
const wholeWeight = 4 * cpuset.MaxCPUs

// units are the CPUs a node could grant: as a whole, and in each of its NUMA nodes.
type units struct {
	all, numaCPUs int // numaCPUs are those of the largest NUMA node, taken or not
	numa          []int
}

// units counts the CPUs that can be granted; with full-pcpus-only those of cores which are free as a whole.
func (s *space) units() units {
	t, free := s.node.Topology, s.free
	if s.node.CPUManager.Options.FullPCPUsOnly {
		free = cpuset.Set{}
		for _, core := range t.Cores() {
			if core.CPUs.SubsetOf(s.free) {
				free = free.Union(core.CPUs)
			}
		}
	}
	u := units{all: free.Len(), numa: make([]int, 0, 8)}
	for _, numa := range t.NUMANodes() {
		u.numa = append(u.numa, numa.CPUs.Intersect(free).Len())
		u.numaCPUs = max(u.numaCPUs, numa.CPUs.Len())
	}
	return u
}

// room is how many VMs of one size, each with beside millicores of sidecars, the node could still take. It
// is a count, not the kubelet's decision, which Filter has: for a rating that is enough, and it costs no
// more than a few divisions.
func (s *space) room(u *units, size int, beside int64) int {
	options, policy := s.node.CPUManager.Options, s.node.TopologyManager.Policy
	n := 0
	switch aligned := policy == kubeletcpu.TopologySingleNUMANode || policy == kubeletcpu.TopologyRestricted; {
	case options.FullPCPUsOnly && size%s.node.Topology.ThreadsPerCore() != 0:
	case aligned && size <= u.numaCPUs:
		for _, cpus := range u.numa {
			n += cpus / size
		}
	case policy != kubeletcpu.TopologySingleNUMANode:
		n = u.all / size
	}
	return max(0, min(n, int(s.milli/(1000*int64(size)+beside))))
}

// broken are the CPUs of the NUMA nodes, uncore caches and cores that were free as a whole before, and are
// not after. A CPU counts once for each of the three.
func broken(before, after *space) int {
	reserved := before.node.Reserved
	sum := 0
	count := func(unit cpuset.Set) {
		unit = unit.Minus(reserved)
		if unit.SubsetOf(before.free) && !unit.SubsetOf(after.free) {
			sum += unit.Len()
		}
	}
	t := before.node.Topology
	for _, numa := range t.NUMANodes() {
		count(numa.CPUs)
	}
	for _, uncore := range t.UncoreUnits() {
		count(uncore.CPUs)
	}
	for _, core := range t.Cores() {
		count(core.CPUs)
	}
	return sum
}

// exclusive is the number of exclusive CPUs that a running pod holds.
func exclusive(pod *kubeletcpu.Pod) int {
	sum := 0
	for i := range pod.Containers {
		if pod.Containers[i].Kind != kubeletcpu.Init {
			sum += pod.Containers[i].CPUs
		}
	}
	return sum
}

// besideExclusive is the CPU, in millicores, that a pod requests besides its exclusive CPUs: sidecars, mostly.
func besideExclusive(pod *corev1.Pod, of *kubeletcpu.Pod) int64 {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	return max(0, requests.Cpu().MilliValue()-1000*int64(exclusive(of)))
}
