package main

import (
	cadvisor "github.com/google/cadvisor/info/v1"

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
}

// nodeCount is how many nodes there are, of each machine type every third.
const nodeCount = 100

// bench is what is measured, of all contenders alike.
type bench struct {
	seeds int
	// apart: VMs come in applications, and prefer hosts without another VM of theirs.
	apart bool
	// wholeCores: all nodes are of the first machine type.
	wholeCores bool
}

// machines are the types of nodes, by turns.
func (b bench) machines() []machine {
	if b.wholeCores {
		return machines[:1]
	}
	return machines
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

// info is what cadvisor would tell the kubelet.
func (m *machine) info() *cadvisor.MachineInfo {
	t := m.topology
	info := &cadvisor.MachineInfo{NumCores: t.CPUs().Len(), NumPhysicalCores: len(t.Cores()), NumSockets: len(t.Sockets())}
	for _, numa := range t.NUMANodes() {
		node := cadvisor.Node{Id: numa.ID}
		for _, core := range t.Cores() {
			if core.NUMANode == numa.ID {
				node.Cores = append(node.Cores, cadvisor.Core{Id: core.ID, SocketID: core.Socket, Threads: core.CPUs.List(),
					UncoreCaches: []cadvisor.Cache{{Id: core.UncoreCache, Level: 3}}})
			}
		}
		info.Topology = append(info.Topology, node)
	}
	return info
}
