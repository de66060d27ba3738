// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the corepin.dev API: NodeCPU, the report that each node's agent writes and the
// scheduler plugin reads.
//
// A NodeCPU says what a node's CPUs are and who holds them, in the kubelet's terms and from the
// kubelet's files. It has the topology, the policies that decide, the reserved CPUs, the shared pool, and
// the exclusive CPUs granted to each container. It has the name of its node and is owned by it. Only the agent on that
// node writes it, and only when its content changes.
//
// CPU sets are strings in the kernel's list format ("0-3,8"), as in the kubelet's files, so that the object of a
// 512-CPU node is small and readable. Every list that changes is a map by key, so that
// server-side apply merges element by element. The cores are one value, because only the agent writes them, all at
// once. As a map, each field of each core would also be in the object's managedFields. A
// report of 128 CPUs was then 12 KB long instead of 6, and each change of it cost the API server half as much again.
//
// +kubebuilder:object:generate=true
// +groupName=corepin.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// GroupVersion is the API group and version of this package.
var GroupVersion = schema.GroupVersion{Group: "corepin.dev", Version: "v1alpha1"}

// Resource is the name under which the API server serves NodeCPU objects.
var Resource = GroupVersion.WithResource("nodecpus")

// Kind is the kind of a NodeCPU object.
const Kind = "NodeCPU"

// FormatVersion is the newest report format that this package knows. It is raised when a field that
// readers must not ignore is added, so that an older scheduler says "newer report" instead of
// predicting from half of it.
//
// An agent writes the oldest format that has all that it knows of its node. So a node that has nothing of a new format is
// predicted by an older scheduler as before, whatever is upgraded first. Format 2 has the devices that device plugins
// serve, the huge pages as the kernel has them, and why memory is not known.
const FormatVersion = 2

// NodeCPU is the report of one node's CPUs.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=nodecpus,scope=Cluster,shortName=ncpu
// +kubebuilder:printcolumn:name="Policy",type=string,JSONPath=`.status.cpuManager.policy`,description="The kubelet's CPU manager policy"
// +kubebuilder:printcolumn:name="Topology",type=string,JSONPath=`.status.topologyManager.policy`,description="The kubelet's topology manager policy"
// +kubebuilder:printcolumn:name="CPUs",type=integer,JSONPath=`.status.summary.cpus`,description="Online CPUs"
// +kubebuilder:printcolumn:name="NUMA",type=integer,JSONPath=`.status.summary.numaNodes`,description="NUMA nodes"
// +kubebuilder:printcolumn:name="Reserved",type=integer,JSONPath=`.status.summary.reserved`,description="CPUs reserved for the system"
// +kubebuilder:printcolumn:name="Granted",type=integer,JSONPath=`.status.summary.granted`,description="CPUs granted to containers exclusively"
// +kubebuilder:printcolumn:name="Free",type=integer,JSONPath=`.status.summary.free`,description="CPUs the kubelet can still grant"
// +kubebuilder:printcolumn:name="Exact",type=string,JSONPath=`.status.conditions[?(@.type=="Exact")].status`,description="Whether corepin predicts this kubelet's decisions exactly"
// +kubebuilder:printcolumn:name="Seen",type=string,JSONPath=`.status.conditions[?(@.type=="Seen")].status`,description="Whether the node is heard from; if not, all else is of then"
// +kubebuilder:printcolumn:name="Kubelet",type=string,JSONPath=`.status.kubeletVersion`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeCPU struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// status is what the agent last saw.
	// +optional
	Status NodeCPUStatus `json:"status,omitempty"`
}

// NodeCPUList is a list of NodeCPU objects.
//
// +kubebuilder:object:root=true
type NodeCPUList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeCPU `json:"items"`
}

// NodeCPUStatus is what the agent saw of the node's CPUs and of the kubelet that hands them out.
//
// Every list and text has a limit, so that a report that an agent makes up costs little to read. The limits are those of the
// largest machine that there is: 1,792 CPUs, and 64 NUMA nodes of which 34 have no CPUs.
type NodeCPUStatus struct {
	// format is the format of this report: the oldest one that has everything that is in it. A reader that
	// knows only lower numbers must treat the report as unknown, since it may not mean what it seems to.
	// +optional
	Format int32 `json:"format,omitempty"`

	// generation counts the changes of this report; it only ever grows, also across agent restarts.
	// +optional
	Generation int64 `json:"generation,omitempty"`

	// agent is the pod of the agent that keeps this report up to date. The report is current as long as that
	// pod is ready. Empty where the agent does not run in a pod: then nobody can tell.
	// +optional
	Agent *AgentPod `json:"agent,omitempty"`

	// kubeletVersion is the version of the node's kubelet, for example "v1.36.3".
	// +optional
	// +kubebuilder:validation:MaxLength=256
	KubeletVersion string `json:"kubeletVersion,omitempty"`

	// bootID is the Node's boot ID (status.nodeInfo.bootID) when the agent read the kubelet and the machine. A reader that
	// finds another one in the Node must not rely on this report: the machine has booted since.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	BootID string `json:"bootID,omitempty"`

	// cpuManager is the kubelet's CPU manager.
	// +optional
	CPUManager CPUManager `json:"cpuManager,omitempty"`

	// topologyManager is the kubelet's topology manager.
	// +optional
	TopologyManager TopologyManager `json:"topologyManager,omitempty"`

	// memoryManager is the kubelet's memory manager.
	// +optional
	MemoryManager MemoryManager `json:"memoryManager,omitempty"`

	// devices are the resources of device plugins that have, or had, a device with a NUMA node, sorted by name: the kubelet
	// aligns pods with no others. They are all only where condition DevicesKnown is True. Under topology manager policy
	// none, where no device decides about a NUMA node, there are none. Only the agent writes them, all at once.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Devices []DeviceResource `json:"devices,omitempty"`

	// podLevelResourceManagers is set when the kubelet's feature gate of that name is on (alpha in 1.36, beta
	// in 1.37, off by default in both). Pods with pod-level resources (spec.resources) then get CPUs of their
	// own too.
	// +optional
	PodLevelResourceManagers bool `json:"podLevelResourceManagers,omitempty"`

	// numaNodes are the node's NUMA nodes, those without CPUs included.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=64
	NUMANodes []NUMANode `json:"numaNodes,omitempty"`

	// cores are the node's cores with an online CPU.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1792
	Cores []Core `json:"cores,omitempty"`

	// reservedCPUs are kept for the system and the kubelet, and never granted.
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	ReservedCPUs string `json:"reservedCPUs,omitempty"`

	// sharedCPUs are the kubelet's shared pool (its default CPU set): where containers without CPUs of
	// their own run. It includes the reserved CPUs, unless the option strict-cpu-reservation is on.
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	SharedCPUs string `json:"sharedCPUs,omitempty"`

	// granted are the CPUs that the kubelet has assigned exclusively, by pod.
	// +optional
	// +listType=map
	// +listMapKey=podUID
	// +kubebuilder:validation:MaxItems=1792
	Granted []PodGrant `json:"granted,omitempty"`

	// hostTuning are the machine's settings that decide about latency, as its kernel says: isolcpus, governor, cstates and so
	// on. A setting that the kernel does not have is missing. Nobody schedules by them.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	HostTuning map[string]string `json:"hostTuning,omitempty"`

	// summary is the same in numbers, for people.
	// +optional
	Summary Summary `json:"summary,omitempty"`

	// conditions say how far this report can be relied on: CPUManagerRunning, Exact, SourcesComplete,
	// DevicesKnown, RestartSafe, Labelled, Drifted, Exclusive. Condition Seen is corepin-scheduler's.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AgentPod is the pod of an agent.
type AgentPod struct {
	// namespace is the pod's namespace.
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// name is the pod's name.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid is the pod's UID.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid"`
}

// CPUManager is the configuration of the kubelet's CPU manager.
type CPUManager struct {
	// policy is "static" or "none".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Policy string `json:"policy,omitempty"`
	// options are the policy's options, as in the kubelet's configuration.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Options map[string]string `json:"options,omitempty"`
}

// TopologyManager is the configuration of the kubelet's topology manager.
type TopologyManager struct {
	// policy is "none", "best-effort", "restricted" or "single-numa-node".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Policy string `json:"policy,omitempty"`
	// scope is "container" or "pod".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Scope string `json:"scope,omitempty"`
	// options are the policy's options, as in the kubelet's configuration.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Options map[string]string `json:"options,omitempty"`
}

// MemoryManager is the configuration of the kubelet's memory manager.
type MemoryManager struct {
	// policy is "None" or "Static".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Policy string `json:"policy,omitempty"`
	// unknown says why numaNodes and granted cannot be relied on; empty where they can. Guaranteed pods are then not
	// predicted exactly.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Unknown string `json:"unknown,omitempty"`
	// numaNodes is the memory of each NUMA node as in the kubelet's memory_manager_state; empty where the
	// memory manager does not run.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=64
	NUMANodes []NUMAMemory `json:"numaNodes,omitempty"`
	// granted is the memory that the memory manager has assigned, by pod, as in memory_manager_state.
	// +optional
	// +listType=map
	// +listMapKey=podUID
	// +kubebuilder:validation:MaxItems=2048
	Granted []PodMemory `json:"granted,omitempty"`
}

// NUMAMemory is the memory of one NUMA node, as the kubelet's memory manager counts it.
type NUMAMemory struct {
	// id is the kernel's id.
	ID int32 `json:"id"`
	// assignments is the number of assignments that take memory of this NUMA node.
	Assignments int32 `json:"assignments"`
	// group are the NUMA nodes that containers use together with this one, itself included.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Group []int32 `json:"group,omitempty"`
	// resources are its kinds of memory.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Resources []MemoryResource `json:"resources"`
}

// MemoryResource is one kind of memory of a NUMA node; all amounts are in bytes.
type MemoryResource struct {
	// type is "memory", or a page size: "hugepages-1Gi".
	// +kubebuilder:validation:MaxLength=64
	Type string `json:"type"`
	// total is what there is.
	Total int64 `json:"total"`
	// systemReserved is kept for the system.
	SystemReserved int64 `json:"systemReserved"`
	// allocatable is what containers can get.
	Allocatable int64 `json:"allocatable"`
	// reserved is what containers have got.
	Reserved int64 `json:"reserved"`
	// free is what containers can still get.
	Free int64 `json:"free"`
}

// PodMemory is the memory that one pod was granted.
type PodMemory struct {
	// podUID is the pod's UID.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	PodUID types.UID `json:"podUID"`
	// containers are the pod's containers with memory of their own.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Containers []ContainerMemory `json:"containers"`
}

// ContainerMemory is the memory that one container was granted.
type ContainerMemory struct {
	// name is the container's name.
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// blocks are the assignments, one for each kind of memory.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Blocks []MemoryBlock `json:"blocks"`
}

// MemoryBlock is one assignment of memory.
type MemoryBlock struct {
	// type is "memory", or a page size: "hugepages-1Gi".
	// +kubebuilder:validation:MaxLength=64
	Type string `json:"type"`
	// numaNodes are the NUMA nodes that the memory is taken from.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	NUMANodes []int32 `json:"numaNodes"`
	// size is its size in bytes.
	Size int64 `json:"size"`
}

// NUMANode is one NUMA node.
type NUMANode struct {
	// id is the kernel's id.
	ID int32 `json:"id"`
	// distances are the kernel's distances to the NUMA nodes, in the order of their ids.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Distances []int32 `json:"distances,omitempty"`

	// hugePages are the huge pages that the kernel has, for each size that it has any of.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	HugePages []HugePages `json:"hugePages,omitempty"`
}

// Core is a set of CPUs that are hardware threads of one another.
type Core struct {
	// id is the lowest CPU id of the core, which is how the kubelet names it.
	ID int32 `json:"id"`
	// cpus are the core's online CPUs.
	// +kubebuilder:validation:MaxLength=64
	CPUs string `json:"cpus"`
	// numaNode is the NUMA node the core is in.
	NUMANode int32 `json:"numaNode"`
	// socket is the socket the core is in.
	Socket int32 `json:"socket"`
	// uncoreCache is the last-level cache the core shares with others.
	UncoreCache int32 `json:"uncoreCache"`
}

// PodGrant is what one pod was granted.
type PodGrant struct {
	// podUID is the pod's UID.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	PodUID types.UID `json:"podUID"`
	// containers are the pod's containers with exclusive CPUs.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Containers []ContainerGrant `json:"containers"`
	// pins is where the threads of the pod's guest were found pinned when the agent last looked, as
	// "0=2 1=3 emulator=4 io1=4": vCPU 0 on CPU 2 and so on; empty before they are.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Pins string `json:"pins,omitempty"`
	// waits is which vCPUs of the pod's guest were ready to run and waited for a CPU for more of the last minute than the
	// agent's configuration allows, in percent, as "1=3.1 4=12". A number stays until it has changed by a quarter.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Waits string `json:"waits,omitempty"`
	// sharedWith is which containers may run on the exclusive CPUs of the pod's guest too, such as "2 containers of the
	// shared pool (vms/web c, vms/web d)". They have been able to for longer than the kubelet takes to reconcile. It is empty
	// where there are none, and where condition Exclusive is Unknown or missing.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	SharedWith string `json:"sharedWith,omitempty"`
}

// ContainerGrant is what one container was granted.
type ContainerGrant struct {
	// name is the container's name.
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// cpus are its exclusive CPUs.
	// +kubebuilder:validation:MaxLength=8192
	CPUs string `json:"cpus"`
}

// Summary is a report in numbers of CPUs.
type Summary struct {
	// cpus is the number of online CPUs.
	CPUs int32 `json:"cpus"`
	// numaNodes is the number of NUMA nodes.
	NUMANodes int32 `json:"numaNodes"`
	// reserved is the number of reserved CPUs.
	Reserved int32 `json:"reserved"`
	// granted is the number of CPUs granted exclusively.
	Granted int32 `json:"granted"`
	// free is the number of CPUs the kubelet can still grant.
	Free int32 `json:"free"`
}
