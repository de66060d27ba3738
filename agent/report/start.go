// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"maps"
	"slices"

	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// This file has what a kubelet checks of its configuration and of the machine when it starts, before it reads its state
// of the CPUs. In the kubelet's order (v1.34 to v1.38.0-beta.0), with what becomes of each check here:
//
//	ValidateKubeletConfiguration (pkg/kubelet/apis/config/validation)
//	  types of the fields                      the file cannot be read: not certain
//	  reservedSystemCPUs beside cgroups        here
//	  topology manager's policy and scope      here
//	  reservedMemory                           here
//	NewContainerManager (pkg/kubelet/cm)
//	  swap, cgroups                            not looked at; no configuration of CPUs or memory changes them
//	topologymanager.NewManager
//	  options, number of NUMA nodes            here
//	cpumanager.NewManager, NewStaticPolicy
//	  policy, options, their gates             here
//	  reserved CPUs: none, too many            here
//	memorymanager.NewManager, NewPolicyStatic
//	  policy, reservations                     here
//	cpumanager Start
//	  policy of the state file, its CPUs       restart.go, admission.Node.Restarts
//	memorymanager Start
//	  policy of the state file                 here
//	  the state against the machine            here: total and reserved, by NUMA node and kind of memory
//	admission of the pods that run (pkg/kubelet/lifecycle/predicate.go)
//	  CPUs, by the topology manager            restart.go, admission.Readmit
//	  node selector, required node affinity    node.go: labels that the kubelet itself writes are not certain
//	  taints with effect NoExecute             node.go
//	  amounts, node name, ports, OS            not looked at; they are as they were when the pod was admitted

// startProblem is why the kubelet does not start with its next configuration; "" where nothing is found.
func startProblem(r *Resolved) string {
	for _, check := range []func(*Resolved) string{configProblem, topologyProblem, cpuProblem, memoryProblem} {
		why := check(r)
		if why != "" {
			return why
		}
	}
	return ""
}

func configProblem(r *Resolved) string {
	if !r.Next.ReservedCPUs.IsEmpty() && len(r.Next.Reserved.Cgroups) > 0 {
		return "reservedSystemCPUs cannot be used with systemReservedCgroup or kubeReservedCgroup"
	}
	return ""
}

// defaultMaxNUMANodes is defaultMaxAllowableNUMANodes of pkg/kubelet/cm/topologymanager/topology_manager.go (v1.36.3).
const defaultMaxNUMANodes = 8

func topologyProblem(r *Resolved) string {
	manager, err := topologymanager.Parse(r.Next.TopologyManagerPolicy, r.Next.TopologyManagerScope, r.Next.TopologyManagerOptions)
	if err != nil {
		return err.Error()
	}
	nodes := len(r.Host.Value.NUMANodes())
	most := max(manager.MaxAllowableNUMANodes, defaultMaxNUMANodes)
	if manager.Policy != topologymanager.PolicyNone && nodes > most {
		return fmt.Sprintf("topology manager policy %s is unsupported on machines with more than %d NUMA nodes, and this one has %d", manager.Policy, most, nodes)
	}
	return ""
}

// The options of the CPU manager that need a feature gate (alphaOptions and betaOptions in
// pkg/kubelet/cm/cpumanager/policy_options.go, v1.36.3 to v1.38.0-beta.0). In 1.34 and 1.35 some of the stable ones were beta.
var (
	alphaOptions = []string{"align-by-socket", "distribute-cpus-across-cores"}
	betaOptions  = []string{"distribute-cpus-across-numa"}
)

func cpuProblem(r *Resolved) string {
	next := r.Next
	manager, err := cpumanager.Parse(next.CPUManagerPolicy, next.CPUManagerOptions)
	if err != nil {
		return err.Error()
	}
	if manager.Policy != cpumanager.PolicyStatic {
		return ""
	}
	for _, option := range slices.Sorted(maps.Keys(next.CPUManagerOptions)) {
		switch {
		case slices.Contains(alphaOptions, option) && !next.AlphaOptions():
			return fmt.Sprintf("option %s of the CPU manager needs feature gate CPUManagerPolicyAlphaOptions", option)
		case slices.Contains(betaOptions, option) && !next.BetaOptions():
			return fmt.Sprintf("option %s of the CPU manager needs feature gate CPUManagerPolicyBetaOptions, which is off", option)
		}
	}
	host := r.Host.Value
	switch {
	case next.ReservedCPUs.IsEmpty() && !next.Reserved.CPU && next.ReservedCount == 0:
		return "it is unable to determine reserved CPU resources for static policy: set reservedSystemCPUs, or cpu in kubeReserved or systemReserved"
	case next.ReservedCPUs.IsEmpty() && next.ReservedCount == 0:
		return "the static policy requires systemReserved.cpu + kubeReserved.cpu to be greater than zero"
	case next.ReservedCPUs.IsEmpty() && next.ReservedCount > host.CPUs().Len():
		return fmt.Sprintf("%d CPUs are to be reserved, and the machine has %d", next.ReservedCount, host.CPUs().Len())
	case manager.Options.AlignBySocket && next.TopologyManagerPolicy == topologymanager.PolicySingleNUMANode:
		return "topology manager policy single-numa-node is incompatible with CPU manager option align-by-socket"
	case manager.Options.AlignBySocket && len(host.Sockets()) > len(host.NUMANodes()):
		return "CPU manager option align-by-socket is incompatible with a machine that has more sockets than NUMA nodes"
	}
	return ""
}

// Policies of the memory manager.
const (
	memoryNone   = "None"
	memoryStatic = "Static"
)

// drain ends what is said of a state file that the kubelet does not take.
const drain = "drain the node and remove that file first, or change it back"

func memoryProblem(r *Resolved) string {
	next := r.Next
	switch next.MemoryManagerPolicy {
	case "", memoryNone:
	case memoryStatic:
		if why := next.Reserved.Problem(); why != "" {
			return why
		}
	default:
		return fmt.Sprintf("memory manager policy %q is neither None nor Static", next.MemoryManagerPolicy)
	}
	if !readable(r.Kubelet.Memory) {
		return ""
	}
	state := r.Kubelet.Memory.Value
	policy := next.MemoryManagerPolicy
	if policy == "" {
		policy = memoryNone
	}
	if state.Policy != policy {
		return fmt.Sprintf("its memory manager's policy will be %s, and memory_manager_state was written with %s; %s", policy, state.Policy, drain)
	}
	if policy != memoryStatic || len(state.NUMANodes) == 0 {
		return ""
	}
	if why := reservationsDiffer(state, next.Reserved); why != "" {
		return why + "; " + drain
	}
	if readable(r.Memory) && len(r.Memory.Value) > 0 {
		if why := machineDiffers(state, r.Memory.Value); why != "" {
			return why + "; " + drain
		}
	}
	return ""
}

// reservationsDiffer compares what was reserved when memory_manager_state was written with what will be.
func reservationsDiffer(state kubelet.Memory, reserved kubelet.Reserved) string {
	for _, entry := range reserved.NUMANodes {
		_, known := state.NUMANodes[entry.NUMANode]
		if !known {
			return fmt.Sprintf("reservedMemory names NUMA node %d, and memory_manager_state has none of that number", entry.NUMANode)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(state.NUMANodes)) {
		resources := state.NUMANodes[node].Resources
		for _, name := range slices.Sorted(maps.Keys(resources)) {
			was := resources[name].SystemReserved
			will := reserved.OnNUMANode(node, name)
			if was != will {
				return fmt.Sprintf("of %s on NUMA node %d, %d bytes will be reserved, and memory_manager_state was written with %d", name, node, will, was)
			}
		}
	}
	return ""
}

// machineDiffers compares the memory that the machine has with what it had when memory_manager_state was written. Huge
// pages that were added at run time make a difference.
func machineDiffers(state kubelet.Memory, machine map[int32]hostcpu.NodeMemory) string {
	if len(state.NUMANodes) != len(machine) {
		return fmt.Sprintf("the machine has %d NUMA nodes, and memory_manager_state was written with %d", len(machine), len(state.NUMANodes))
	}
	for _, node := range slices.Sorted(maps.Keys(state.NUMANodes)) {
		has, known := machine[node]
		if !known {
			return fmt.Sprintf("the machine has no NUMA node %d, and memory_manager_state was written with one", node)
		}
		now := map[string]int64{"memory": has.Total}
		for name, pages := range has.HugePages {
			now[name] = pages.Bytes()
		}
		resources := state.NUMANodes[node].Resources
		both := maps.Clone(now)
		for name, was := range resources {
			both[name] = was.Total
		}
		for _, name := range slices.Sorted(maps.Keys(both)) {
			is, there := now[name]
			was, wasThere := resources[name]
			if there != wasThere || is != was.Total {
				return fmt.Sprintf("NUMA node %d has %d bytes of %s, and memory_manager_state was written with %d", node, is, name, was.Total)
			}
		}
	}
	return ""
}

// uncertain is why nobody can say what the kubelet's next start does; "" where that can be said.
func uncertain(r *Resolved) string {
	k := r.Kubelet
	knownMinor := r.Minor >= oldestMinor && r.Minor <= newestMinor
	switch {
	case k.File.Err != nil && r.Origin == kubelet.FromKubelet:
		return fmt.Sprintf("the kubelet's configuration file, with which it will start, cannot be read: %v", k.File.Err)
	case r.Origin == kubelet.FromFile && r.outranked():
		return "the kubelet runs with another configuration than its file has: flags or drop-in files are above it, and are not seen"
	case r.Origin == kubelet.Outdated:
		return "the kubelet's configuration is not known: it cannot be asked, and its file has changed or cannot be read"
	case k.Memory.Err != nil && r.Next.MemoryManagerPolicy == memoryStatic:
		return fmt.Sprintf("memory_manager_state cannot be read: %v", k.Memory.Err)
	case r.Memory.Err != nil && r.Next.MemoryManagerPolicy == memoryStatic:
		return fmt.Sprintf("the machine's memory cannot be read: %v", r.Memory.Err)
	case r.Next.MemoryManagerPolicy == memoryStatic && r.Next.Reserved.MemoryUnknown != "":
		return r.Next.Reserved.MemoryUnknown + ", so what reservedMemory has to come to is not known"
	case !knownMinor:
		return fmt.Sprintf("kubelet version %q is not one whose start is known (1.%d to 1.%d)", r.KubeletVersion, oldestMinor, newestMinor)
	}
	return ""
}

// The kubelets whose start is known.
const (
	oldestMinor = 34
	newestMinor = 38 // as of v1.38.0-beta.0, a beta
)

// outranked reports whether the kubelet runs with something else than its configuration file has. The file was there
// before the kubelet started, so flags or drop-in files must stand above it.
func (r *Resolved) outranked() bool {
	return r.Kubelet.Checkpoint.Value.Policy != r.Config.CPUManagerPolicy && !r.Kubelet.FileIsNewer() && !r.Kubelet.Started.IsZero()
}
