// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/simnode"
)

// machine is a type of node.
type machine struct {
	name     string
	topology *cputopology.Topology
	reserved cpuset.Set
	settings simnode.KubeletSettings
	// rich: the memory manager runs, and there are huge pages and VFs.
	rich bool
}

// nodeCount is how many nodes there are unless -nodes says otherwise, of each machine type every third.
const nodeCount = 100

// bench is what is measured, of all contenders alike.
type bench struct {
	nodes, seeds int
	// placements is how many placements of VMs a search for migrations tries at most.
	placements int
	// apart: VMs come in applications, and prefer hosts without another VM of theirs.
	apart bool
	// wholeCores: all nodes are of the first machine type.
	wholeCores bool
	// devices: nodes have memory manager policy Static, huge pages and VFs, of which the VMs ask for some.
	devices bool
}

// machines are the types of nodes, by turns.
func (b bench) machines() []machine {
	types := slices.Clone(machines)
	if b.wholeCores {
		types = types[:1]
	}
	for i := range types {
		if b.devices {
			types[i].rich = true
			types[i].settings.MemoryManagerPolicy = "Static"
		}
	}
	return types
}

// milli is the CPU that VMs can have of all nodes, in millicores.
func (b bench) milli() int {
	types := b.machines()
	milli := 0
	for i := range b.nodes {
		milli += 1000 * types[i%len(types)].capacity()
	}
	return milli
}

var machines = []machine{
	newMachine("64 CPUs, whole cores in one NUMA node", cputopology.MustParse("2 sockets x 1 numa x 16 cores x 2 threads"),
		"0,32", "single-numa-node", "full-pcpus-only"),
	newMachine("128 CPUs, restricted to few NUMA nodes", cputopology.MustParse("2 sockets x 2 numa x 16 cores x 2 threads"),
		"0-1,64-65", "restricted", ""),
	newMachine("96 CPUs, aligned by uncore cache where possible", splitCaches(6, 8),
		"0,48", "best-effort", "prefer-align-cpus-by-uncorecache"),
}

func newMachine(name string, topology *cputopology.Topology, reserved, topologyPolicy, option string) machine {
	set, err := cpuset.Parse(reserved)
	if err != nil {
		panic(err) // a text of this file
	}
	settings := simnode.KubeletSettings{
		CPUManagerPolicy: "static", TopologyManagerPolicy: topologyPolicy, ReservedSystemCPUs: reserved,
	}
	if option != "" {
		settings.CPUManagerPolicyOptions = map[string]string{option: "true"}
	}
	return machine{name: name, topology: topology, reserved: set, settings: settings}
}

// splitCaches is a socket with several uncore caches of so many cores of two CPUs each.
func splitCaches(caches, coresPerCache int) *cputopology.Topology {
	var cores []cputopology.Core
	for i := range caches * coresPerCache {
		cores = append(cores, cputopology.Core{UncoreCache: i / coresPerCache, CPUs: cpuset.Of(i, i+caches*coresPerCache)})
	}
	topology, err := cputopology.New(cores)
	if err != nil {
		panic(err) // a machine of this file
	}
	return topology
}

// capacity is the number of CPUs that VMs can have on the machine.
func (m *machine) capacity() int { return m.topology.CPUs().Minus(m.reserved).Len() }

// The memory of a machine for each CPU, of which rich machines have some as huge pages.
const (
	gibibytesPerCPU = 8
	pagesPerCPU     = 1
)

func (m *machine) memory() int64 { return int64(m.topology.CPUs().Len()) * gibibytesPerCPU << 30 }

// pages are the huge pages of all NUMA nodes.
func (m *machine) pages() int64 {
	if !m.rich {
		return 0
	}
	return int64(m.topology.CPUs().Len()) * pagesPerCPU
}

// The VFs of a rich machine's two network cards.
const (
	firstCard  = 8
	secondCard = 4
)

// vfs are those of two network cards, on the first NUMA node and on the last.
func (m *machine) vfs() (devices []simnode.Device) {
	if !m.rich {
		return nil
	}
	numaNodes := m.topology.NUMANodes()
	for i := range firstCard + secondCard {
		at := numaNodes[0].ID
		if i >= firstCard {
			at = numaNodes[len(numaNodes)-1].ID
		}
		devices = append(devices, simnode.Device{ID: fmt.Sprint("vf", i), NUMANodes: []int64{int64(at)}})
	}
	return devices
}

// start starts the machine's kubelet in a folder.
func (m *machine) start(ctx context.Context, dir string, object *corev1.Node) (*simnode.Reported, error) {
	o := simnode.Options{Dir: dir, Topology: m.topology, Kubelet: m.settings, Memory: fmt.Sprint(m.memory())}
	if m.rich {
		o.HugePages = map[string]int64{string(hugePages): m.pages() / int64(len(m.topology.NUMANodes()))}
		o.Devices = map[string][]simnode.Device{string(vf): m.vfs()}
	}
	return simnode.NewReported(ctx, o, object)
}
