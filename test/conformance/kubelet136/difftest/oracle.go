// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/predicates"
)

// Kubelet is one version of the kubelet's packages.
type Kubelet struct {
	Minor int
	// Folder is that of the package that tests it, in the repository.
	Folder string
	// Start gives a kubelet's CPU manager and topology manager on an empty node. It returns an error where a kubelet
	// of this version does not start there.
	Start func(Config) (Oracle, error)
	// Merge is the merge of hints by a policy of the kubelet's topology manager.
	Merge Merge
	// Memory gives a kubelet's memory manager on an empty machine.
	Memory func([]MemoryNode) (MemoryOracle, error)
	// QOS is the kubelet's reading of a pod's QoS class.
	QOS func(*corev1.Pod) corev1.PodQOSClass
	// Fit is why the kubelet's predicates refuse a pod on a node with others. evicts reports whether it looks for
	// others to evict instead.
	Fit func(node *corev1.Node, others []*corev1.Pod, pod *corev1.Pod) (r predicates.Refusal, evicts bool)
}

// Config is a node as a kubelet's configuration and cadvisor describe it.
type Config struct {
	Machine                     *cputopology.Topology
	Policy, Scope               string // of the topology manager
	TopologyOptions, CPUOptions map[string]string
	Reserved                    cpuset.Set
	ReservedCount               int // CPUs to reserve where Reserved is empty
	// Memory is by NUMA node. It is nil where the memory manager does not run.
	Memory []MemoryNode
	// Devices are nil where no device manager is asked.
	Devices []DeviceResource
}

// Oracle is a kubelet's topology manager with its hint providers: the static CPU manager policy and, where the
// configuration has them, the device manager and the static memory manager policy.
type Oracle interface {
	// Reserved are the CPUs that are never granted.
	Reserved() cpuset.Set
	// Shared is the shared pool, defaultCpuSet in cpu_manager_state.
	Shared() cpuset.Set
	// Add admits a pod and gives the outcome in our types, without NotFree and Preemptible, which the kubelet does not
	// know. A refused pod holds nothing afterwards.
	Add(*corev1.Pod) admission.Decision
	// Restart starts a new kubelet over the checkpoints of the old one, before it has seen any pod. Containers run, but for
	// init containers that are no sidecars. Device plugins have registered, or do so at Ready if pluginsLater is set. It
	// returns an error where the kubelet does not start.
	Restart(pluginsLater bool) error
	// Ready tells a kubelet that has started again that it has seen all pods.
	Ready()
	// StartApps gives back the memory of a pod's init containers, as the kubelet does when its app containers start.
	StartApps(*corev1.Pod)
	// Remove takes back all that a pod holds.
	Remove(*corev1.Pod)
	// Memory is the memory manager's state, or nil.
	Memory() *memorymanager.State
	// Devices are the device manager's, or nil.
	Devices() *devicemanager.State
	// Close ends the kubelet. No other can have devices before.
	Close()
}
