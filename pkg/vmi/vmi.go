// Package vmi reads what a virtual machine asks for: the few fields of a VirtualMachineInstance (VMI), or
// of a VirtualMachine's template, that decide how many CPUs it gets and whether they are its own.
//
// KubeVirt's own API module is not used: corepin works without KubeVirt installed, and needs thirty
// fields of several thousand. Fields that are not listed here are passed over; fields that are listed must have
// their type, so that a misread size never becomes a VM of another size. Malformed input is an error
// with the field's path, never a panic.
//
// Check applies one table of rules (rules.go). What a VM's verdict depends on besides the VM is read too, where it
// is at hand: the instancetype that gives its sizes (instancetype.go) and the settings of the cluster (cluster.go).
// The same table stands, in CEL, in
// manifests/admission; test/conformance/kubevirt holds both against each other and against KubeVirt's
// recorded behaviour.
package vmi

import "k8s.io/apimachinery/pkg/types"

// VMI is the part of a VirtualMachineInstance that corepin reads. Of a VirtualMachine it is the template.
type VMI struct {
	// Kind is VirtualMachineInstance or VirtualMachine: where the fields stand in the user's YAML.
	Kind string
	// APIVersion is one of kubevirt.io/v1, kubevirt.io/v1alpha3 and kubevirt.io/v1alpha2.
	APIVersion string
	// Name, Namespace and UID are those of the object that was read, VMI or VirtualMachine.
	Name, Namespace string
	UID             types.UID
	// Labels and Annotations are the VMI's, or those of the template.
	Labels, Annotations map[string]string
	// Instancetype is what a VirtualMachine takes its sizes from, so that what stands here is not the whole
	// request; nil where it does not.
	Instancetype *InstancetypeName
	Spec         Spec
}

// Spec is the part of spec (of a VirtualMachine: spec.template.spec) that corepin reads.
type Spec struct {
	SchedulerName string            `json:"schedulerName,omitempty"`
	NodeSelector  map[string]string `json:"nodeSelector,omitempty"`
	Architecture  string            `json:"architecture,omitempty"`
	Domain        Domain            `json:"domain"`
}

// Domain is the part of spec.domain that corepin reads.
type Domain struct {
	CPU             CPU        `json:"cpu"`
	Memory          Memory     `json:"memory"`
	Resources       Resources  `json:"resources"`
	IOThreadsPolicy *string    `json:"ioThreadsPolicy,omitempty"`
	IOThreads       *IOThreads `json:"ioThreads,omitempty"`
	Devices         Devices    `json:"devices"`
}

// Devices is spec.domain.devices.
type Devices struct {
	Disks []Disk `json:"disks,omitempty"`
}

// Disk is one of spec.domain.devices.disks.
type Disk struct {
	// DedicatedIOThread gives the disk an IO thread that it shares with no other.
	DedicatedIOThread bool `json:"dedicatedIOThread,omitempty"`
}

// CPU is spec.domain.cpu. Sockets, Cores and Threads are the guest's topology; 0 means not given.
type CPU struct {
	Sockets               uint32       `json:"sockets,omitempty"`
	Cores                 uint32       `json:"cores,omitempty"`
	Threads               uint32       `json:"threads,omitempty"`
	MaxSockets            uint32       `json:"maxSockets,omitempty"`
	Model                 string       `json:"model,omitempty"`
	Features              []CPUFeature `json:"features,omitempty"`
	DedicatedCPUPlacement bool         `json:"dedicatedCpuPlacement,omitempty"`
	IsolateEmulatorThread bool         `json:"isolateEmulatorThread,omitempty"`
	NUMA                  *NUMA        `json:"numa,omitempty"`
	Realtime              *Realtime    `json:"realtime,omitempty"`
}

// CPUFeature is one of spec.domain.cpu.features.
type CPUFeature struct {
	Name   string `json:"name"`
	Policy string `json:"policy,omitempty"`
}

// NUMA is spec.domain.cpu.numa.
type NUMA struct {
	GuestMappingPassthrough *struct{} `json:"guestMappingPassthrough,omitempty"`
}

// Realtime is spec.domain.cpu.realtime.
type Realtime struct {
	Mask string `json:"mask,omitempty"`
}

// Memory is spec.domain.memory.
type Memory struct {
	Guest     *Quantity  `json:"guest,omitempty"`
	MaxGuest  *Quantity  `json:"maxGuest,omitempty"`
	Hugepages *Hugepages `json:"hugepages,omitempty"`
}

// Hugepages is spec.domain.memory.hugepages. PageSize is a quantity by KubeVirt's rule, but a plain
// string by its schema.
type Hugepages struct {
	PageSize string `json:"pageSize,omitempty"`
}

// Resources is spec.domain.resources.
type Resources struct {
	Requests                Amounts `json:"requests"`
	Limits                  Amounts `json:"limits"`
	OvercommitGuestOverhead bool    `json:"overcommitGuestOverhead,omitempty"`
}

// Amounts are the CPU and memory of a request or limit; nil means not given.
type Amounts struct {
	CPU    *Quantity `json:"cpu,omitempty"`
	Memory *Quantity `json:"memory,omitempty"`
}

// IOThreads is spec.domain.ioThreads.
type IOThreads struct {
	SupplementalPoolThreadCount *uint32 `json:"supplementalPoolThreadCount,omitempty"`
}

// Annotations and values with a meaning for dedicated CPUs.
const (
	// EvenParityAnnotation asks for a second emulator CPU where that makes the total even. Its presence
	// counts, not its value.
	EvenParityAnnotation = "alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity"
	// HookSidecarsAnnotation lists the hook sidecars, as JSON.
	HookSidecarsAnnotation = "hooks.kubevirt.io/hookSidecars"

	// SupplementalPool is the IOThreadsPolicy that gives every IO thread a CPU of its own.
	SupplementalPool = "supplementalPool"
	// AutoIOThreads is the IOThreadsPolicy that makes IO threads by the number of disks and CPUs.
	AutoIOThreads = "auto"
)

// Dedicated tells whether the VM asks for CPUs of its own.
func (v *VMI) Dedicated() bool { return v.Spec.Domain.CPU.DedicatedCPUPlacement }

// Compact is v without what no rule and no placement depends on: labels, node selector, scheduler, and
// annotations that mean nothing for CPUs. It is for keeping many.
func (v *VMI) Compact() *VMI {
	kept := *v
	kept.Labels, kept.Annotations, kept.Spec.NodeSelector, kept.Spec.SchedulerName = nil, nil, nil, ""
	if parity, asked := v.Annotations[EvenParityAnnotation]; asked {
		kept.Annotations = map[string]string{EvenParityAnnotation: parity}
	}
	return &kept
}
