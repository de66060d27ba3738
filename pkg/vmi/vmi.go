// SPDX-License-Identifier: Apache-2.0

// Package vmi reads what a virtual machine asks for: the few fields of a VirtualMachineInstance (VMI) that decide
// how many CPUs it gets and whether they are its own. A VirtualMachine, a VirtualMachineInstanceReplicaSet and a
// VirtualMachinePool hold a template for VMIs, and are read for that.
//
// KubeVirt's own API module is not used: corepin works without KubeVirt installed, and needs thirty
// fields of several thousand. Fields that are not listed here are ignored. Fields that are listed must have
// their type, so that a misread size never becomes a VM of another size. Malformed input is an error
// with the field's path, never a panic.
//
// Check applies one table of rules (rules.go). Each rule has a level, and the strictness decides which levels refuse a
// VM. The verdict also depends on objects beside the VM, which are read too: its instancetype and preference
// (instancetype.go, preference.go) and the settings of the cluster (cluster.go).
//
// Who is refused: the author of a new object. A VM that exists is refused only where it would not run anyway (Hopeless).
// The policy in manifests/admission applies the same table, written in CEL. test/conformance/kubevirt compares both
// with each other and with KubeVirt's recorded behaviour.
package vmi

import "k8s.io/apimachinery/pkg/types"

// VMI is the part of a VirtualMachineInstance that corepin reads, or of an object's template for VMIs.
type VMI struct {
	// Kind is that of the object that was read, one of those that IsKind knows.
	Kind string
	// APIVersion is that of the object that was read, for example kubevirt.io/v1.
	APIVersion string
	// Name, Namespace and UID are those of the object that was read.
	Name      string
	Namespace string
	UID       types.UID
	// Labels and Annotations are the VMI's, or those of the template.
	Labels      map[string]string
	Annotations map[string]string
	// Instancetype names the object that gives a VirtualMachine its sizes. Spec is then not the whole request.
	Instancetype *Reference
	// Preference names the object that fills in what the VirtualMachine leaves open.
	Preference *Reference
	Spec       Spec
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

// Dedicated reports whether the VM asks for CPUs of its own.
func (v *VMI) Dedicated() bool { return v.Spec.Domain.CPU.DedicatedCPUPlacement }

// Compact is v without what no rule and no placement depends on: labels, node selector, scheduler, and
// annotations that mean nothing for CPUs. It saves memory where many VMIs are kept.
func (v *VMI) Compact() *VMI {
	kept := *v
	kept.Labels = nil
	kept.Annotations = nil
	kept.Spec.NodeSelector = nil
	kept.Spec.SchedulerName = ""
	parity, asked := v.Annotations[EvenParityAnnotation]
	if asked {
		kept.Annotations = map[string]string{EvenParityAnnotation: parity}
	}
	return &kept
}
