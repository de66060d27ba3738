package kubeletcpu

import (
	"math/bits"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
)

// numaMask is a set of NUMA nodes, by their place in room.nodes.
type numaMask uint64

// hint is a set of NUMA nodes that could serve a request. A preferred one has no more NUMA nodes than
// the request would need on an empty machine.
type hint struct {
	nodes     numaMask
	preferred bool
}

// maxHintNodes bounds the search over all sets of NUMA nodes, which grows as two to their number.
const maxHintNodes = 16

// room is what each NUMA node has for one request.
type room struct {
	node   *Node
	nodes  []nodeRoom
	need   int
	reuse  numaMask // NUMA nodes with a CPU that the pod may reuse: a hint must have them all
	fewest int      // NUMA nodes that the request needs on an empty machine
}

type nodeRoom struct {
	at             int // index in Topology.NUMANodes()
	capacity, free int
}

// newRoom counts the CPUs for a request (generateCPUTopologyHints in
// pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3). What counts for preference is capacity, with
// reserved and granted CPUs: where two NUMA nodes of 64 have 33 free each, restricted refuses 50 CPUs,
// which one NUMA node could hold were it empty, and admits 66, which need two in any case.
func (a *admission) newRoom(need int, into []nodeRoom) room {
	r := room{node: a.node, need: need, fewest: a.m.numaNodes}
	free := a.free()
	nodes := a.m.topology.NUMANodes()
	for i := range nodes {
		capacity := a.m.count(&nodes[i].CPUs)
		if capacity == 0 {
			continue
		}
		reusable := a.m.common(&nodes[i].CPUs, &a.reusable)
		if reusable > 0 {
			r.reuse |= 1 << len(into)
		}
		into = append(into, nodeRoom{i, capacity, a.m.common(&nodes[i].CPUs, &free) + reusable})
	}
	r.nodes = into
	// As many of the largest NUMA nodes as it takes.
	var array [8]int
	capacities := array[:0]
	for i := range r.nodes {
		capacities = append(capacities, r.nodes[i].capacity)
	}
	slices.Sort(capacities)
	for k, sum := 1, 0; k < r.fewest; k++ {
		if sum += capacities[len(capacities)-k]; sum >= need {
			r.fewest = k
		}
	}
	return r
}

// fits tells whether the NUMA nodes of mask have enough.
func (r *room) fits(mask numaMask) bool {
	if mask&r.reuse != r.reuse {
		return false
	}
	free := 0
	for ; mask != 0; mask &= mask - 1 {
		free += r.nodes[bits.TrailingZeros64(uint64(mask))].free
	}
	return free >= r.need
}

// best is the hint that the topology manager chooses: a preferred one if there is one, then the one
// with the fewest NUMA nodes, then the lowest numbered (HintMerger in
// pkg/kubelet/cm/topologymanager/policy.go, v1.36.3). With the CPU manager alone giving hints, nothing
// more is left of the merging there. Nothing fits: false.
func (r *room) best() (hint, bool) {
	var best hint
	found := false
	all := numaMask(1)<<len(r.nodes) - 1
	for k := 1; k <= len(r.nodes); k++ {
		for mask := numaMask(1)<<k - 1; mask <= all; mask = nextOfSameSize(mask) {
			if !r.fits(mask) {
				continue
			}
			h := hint{mask, r.prefers(mask, k)}
			if !found || r.better(h, best) {
				best, found = h, true
			}
		}
		// Wider hints can only win by being preferred, and only sockets make wider ones that.
		if found && (best.preferred || !r.node.CPUManager.Options.AlignBySocket) {
			break
		}
	}
	return best, found
}

// nextOfSameSize is the next higher mask with as many bits.
func nextOfSameSize(mask numaMask) numaMask {
	low := mask & -mask
	carry := mask + low
	return carry | (mask^carry)>>2/low
}

func (r *room) prefers(mask numaMask, size int) bool {
	return size == r.fewest || r.node.CPUManager.Options.AlignBySocket && r.socketAligned(mask)
}

// better tells whether h, seen after best and with a higher or wider mask, is to be chosen over it.
func (r *room) better(h, best hint) bool {
	if h.preferred != best.preferred {
		return h.preferred
	}
	if bits.OnesCount64(uint64(h.nodes)) != bits.OnesCount64(uint64(best.nodes)) {
		return false
	}
	return r.node.TopologyManager.PreferClosestNUMANodes && r.distance(h.nodes) < r.distance(best.nodes)
}

// distance is the mean distance between the NUMA nodes of mask, each to itself included (Closest in
// pkg/kubelet/cm/topologymanager/numa_info.go, v1.36.3).
func (r *room) distance(mask numaMask) float64 {
	sum, count := 0.0, 0.0
	nodes := r.node.Topology.NUMANodes()
	for i := range r.nodes {
		for j := range r.nodes {
			if mask>>i&1 != 0 && mask>>j&1 != 0 {
				sum += float64(nodes[r.nodes[i].at].Distances[r.nodes[j].at])
				count++
			}
		}
	}
	return sum / count
}

// socketAligned is the option align-by-socket: a hint is as good as any with fewest NUMA nodes if it
// spans no more sockets than those would.
func (r *room) socketAligned(mask numaMask) bool {
	sockets := len(r.node.Topology.Sockets())
	perSocket := len(r.nodes) / sockets
	if perSocket == 0 {
		return false
	}
	cpus, spanned := r.cpus(mask), 0
	for _, socket := range r.node.Topology.SocketUnits() {
		if socket.CPUs.Overlaps(cpus) {
			spanned++
		}
	}
	return spanned == (r.fewest+perSocket-1)/perSocket
}

// cpus are the CPUs of the NUMA nodes of mask.
func (r *room) cpus(mask numaMask) cpuset.Set {
	var cpus cpuset.Set
	for ; mask != 0; mask &= mask - 1 {
		cpus = cpus.Union(r.node.Topology.NUMANodes()[r.nodes[bits.TrailingZeros64(uint64(mask))].at].CPUs)
	}
	return cpus
}
