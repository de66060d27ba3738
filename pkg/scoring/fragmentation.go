// SPDX-License-Identifier: Apache-2.0

package scoring

import (
	"math"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// sizes are the VM sizes, in CPUs, that LeastFragmentation keeps capacity for. They are common sizes, not those of the
// VMs in the cluster: nobody knows which VMs come next, and a rating must not depend on those that came before.
var sizes = [...]int{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64}

// loss is what a placement costs other VMs. For each of sizes it counts the CPUs of the VMs of that size that fit before
// and do not fit after. It counts VMs without devices, and for each resource with NUMA nodes VMs with one such device. So a VM
// without devices stays away from the CPUs beside the last devices. Every placement costs at least its own CPUs; what it
// costs beyond that is fragmentation. Between equal losses the one is lower that keeps more NUMA nodes, caches and cores
// entirely free.
func loss(before, after *capacity, sharedMilliCPU int64) int64 {
	unitsBefore := before.units()
	unitsAfter := after.units()
	devicesBefore := before.aligned()
	devicesAfter := after.aligned()
	var sum int64
	for _, size := range sizes {
		lost := before.room(&unitsBefore, size, sharedMilliCPU, nil) - after.room(&unitsAfter, size, sharedMilliCPU, nil)
		for i := range min(len(devicesBefore), len(devicesAfter)) {
			lost += before.room(&unitsBefore, size, sharedMilliCPU, devicesBefore[i]) -
				after.room(&unitsAfter, size, sharedMilliCPU, devicesAfter[i])
		}
		sum += int64(size) * int64(lost)
	}
	return sum*wholeWeight + int64(split(before, after))
}

// wholeWeight is more than split can return.
const wholeWeight = 4 * cpuset.MaxCPUs

// units are counts of the CPUs that a node can grant.
type units struct {
	all     int
	numa    []int // of each NUMA node
	largest int   // number of CPUs of the largest NUMA node, taken or not
}

// units counts. With full-pcpus-only only entirely free cores count, since the kubelet grants whole cores.
func (c *capacity) units() units {
	topology := c.node.Topology
	free := c.free
	if c.node.CPUManager.Options.FullPCPUsOnly {
		free = topology.WholeCores(c.free)
	}
	u := units{all: free.Len(), numa: make([]int, 0, 8)}
	for _, numa := range topology.NUMANodes() {
		u.numa = append(u.numa, numa.CPUs.Intersect(free).Len())
		u.largest = max(u.largest, numa.CPUs.Len())
	}
	return u
}

// room is the number of VMs of one size that still fit, each with sidecars of sharedMilliCPU, with memory as the rated VM
// has it for each CPU, and with one of devices. devices are nil for VMs without one. It counts; it does not ask what the
// kubelet would do.
func (c *capacity) room(u *units, size int, sharedMilliCPU int64, devices *devicemanager.Resource) int {
	policy := c.node.TopologyManager.Policy
	aligned := policy == topologymanager.PolicySingleNUMANode || policy == topologymanager.PolicyRestricted
	n := 0
	switch {
	case c.node.CPUManager.Options.FullPCPUsOnly && size%c.node.Topology.ThreadsPerCore() != 0:
	case aligned && size <= u.largest:
		for numaNode, cpus := range u.numa {
			most := min(cpus/size, c.memoryFor(size, numaNode, numaNode+1))
			if devices != nil {
				most = min(most, freeOn(devices, 1<<numaNode))
			}
			n += most
		}
	case policy != topologymanager.PolicySingleNUMANode:
		n = min(u.all/size, c.memoryFor(size, 0, len(u.numa)))
		if devices != nil {
			n = min(n, freeOn(devices, ^topologymanager.Mask(0)))
		}
	}
	byMilliCPU := int(c.milli / (1000*int64(size) + sharedMilliCPU))
	return max(0, min(n, byMilliCPU))
}

// memoryFor is for how many VMs of one size there is memory on NUMA nodes from first on, before last.
func (c *capacity) memoryFor(size, first, last int) int {
	most := math.MaxInt
	memory := c.stock.Memory
	if memory == nil || c.stock.MemoryManager != memorymanager.PolicyStatic {
		return most
	}
	for at, name := range memory.Types {
		each := c.perCPU[name] * uint64(size)
		if each == 0 {
			continue
		}
		free := uint64(0)
		for i := first; i < min(last, len(memory.NUMANodes)); i++ {
			free += memory.NUMANodes[i].Memory[at].Free
		}
		most = min(most, int(free/each))
	}
	return most
}

// aligned are the resources whose devices have NUMA nodes, as far as they are known.
func (c *capacity) aligned() []*devicemanager.Resource {
	if c.stock.Devices == nil {
		return nil
	}
	var found []*devicemanager.Resource
	for i := range c.stock.Devices.Resources {
		r := &c.stock.Devices.Resources[i]
		if r.Unknown == "" && r.Aligned() {
			found = append(found, r)
		}
	}
	return found
}

// freeOn is the number of free devices that are on some of the NUMA nodes, or on none at all.
func freeOn(r *devicemanager.Resource, numaNodes topologymanager.Mask) int {
	free := 0
	for i := range r.Groups {
		if r.Groups[i].NUMANodes == 0 || r.Groups[i].NUMANodes&numaNodes != 0 {
			free += r.Groups[i].Free
		}
	}
	return free
}

// split counts the CPUs of NUMA nodes, uncore caches and cores that are entirely free before, and are not after. A CPU
// counts once for each of the three.
func split(before, after *capacity) int {
	topology := before.node.Topology
	reserved := before.node.Reserved
	sum := 0
	count := func(unit cpuset.Set) {
		unit = unit.Minus(reserved)
		if unit.SubsetOf(before.free) && !unit.SubsetOf(after.free) {
			sum += unit.Len()
		}
	}
	for _, numa := range topology.NUMANodes() {
		count(numa.CPUs)
	}
	for _, uncore := range topology.UncoreUnits() {
		count(uncore.CPUs)
	}
	lost := topology.WholeCores(before.free.Union(reserved)).Minus(topology.WholeCores(after.free.Union(reserved)))
	return sum + lost.Minus(reserved).Len()
}
