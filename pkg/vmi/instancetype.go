package vmi

import (
	"fmt"
	"slices"
	"strings"
)

// Kinds of instancetypes: of one namespace, and of all.
const (
	KindInstancetype        = "VirtualMachineInstancetype"
	KindClusterInstancetype = "VirtualMachineClusterInstancetype"

	instancetypeGroup = "instancetype.kubevirt.io/"
)

// InstancetypeName names an instancetype. Namespace is empty for one of all namespaces, and Name for one that
// is inferred from a volume.
type InstancetypeName struct{ Kind, Namespace, Name string }

// String gives the name as users see it.
func (n InstancetypeName) String() string {
	if n.Name == "" {
		return "an instancetype inferred from a volume"
	}
	return n.Kind + " " + strings.TrimPrefix(n.Namespace+"/"+n.Name, "/")
}

// instancetypeName reads a VirtualMachine's spec.instancetype. The kind can be written in any case, and in the
// plural; without one it is that of all namespaces.
func instancetypeName(ref node, namespace string) *InstancetypeName {
	if !ref.isObject() {
		return nil
	}
	name := &InstancetypeName{Kind: KindClusterInstancetype, Name: ref.at("name").text()}
	if kind := ref.at("kind").text(); strings.EqualFold(strings.TrimSuffix(kind, "s"), KindInstancetype) {
		name.Kind, name.Namespace = KindInstancetype, namespace
	}
	return name
}

// Instancetype is the part of a VirtualMachineInstancetype or VirtualMachineClusterInstancetype that corepin
// reads (KubeVirt staging/src/kubevirt.io/api/instancetype/v1beta1/types.go, commit d923fdb815cd).
type Instancetype struct {
	InstancetypeName

	// Guest is the number of vCPUs. Its CPU has the other fields; where the guest's topology is concerned,
	// MaxSockets only.
	Guest           uint32
	CPU             CPU
	Memory          Memory
	IOThreadsPolicy *string
}

// IsInstancetype tells whether InstancetypeOf reads objects of that version and kind.
func IsInstancetype(apiVersion, kind string) bool {
	return strings.HasPrefix(apiVersion, instancetypeGroup) && slices.Contains([]string{KindInstancetype, KindClusterInstancetype}, kind)
}

// InstancetypeOf reads an instancetype from decoded JSON, as unstructured.Unstructured holds it. Its error names
// every field that has not its type.
func InstancetypeOf(object map[string]any) (*Instancetype, error) {
	r := &reader{}
	root := node{r: r, value: object}
	t := &Instancetype{InstancetypeName: InstancetypeName{Kind: root.at("kind").text(), Name: root.at("metadata").at("name").text()}}
	if t.Kind == KindInstancetype {
		t.Namespace = root.at("metadata").at("namespace").text()
	}
	spec := root.at("spec")
	cpu, memory := spec.at("cpu"), spec.at("memory")
	t.Guest = cpu.at("guest").count()
	t.CPU = CPU{
		MaxSockets:            cpu.at("maxSockets").count(),
		DedicatedCPUPlacement: cpu.at("dedicatedCPUPlacement").boolean(),
		IsolateEmulatorThread: cpu.at("isolateEmulatorThread").boolean(),
		NUMA:                  decodeNUMA(cpu.at("numa")),
		Realtime:              decodeRealtime(cpu.at("realtime")),
	}
	cpu.refuseMisspelled("dedicatedCPUPlacement")
	t.Memory = decodeMemory(memory)
	if policy := spec.at("ioThreadsPolicy"); policy.value != nil {
		text := policy.text()
		t.IOThreadsPolicy = &text
	}
	if cpu.at("guest").value == nil {
		r.fail("spec.cpu.guest", "is missing")
	}
	if len(r.problems) > 0 {
		return nil, fmt.Errorf("reading %s: %s", t, strings.Join(r.problems, "; "))
	}
	return t, nil
}

// ruleInstancetypeConflict is broken where a VM and its instancetype both decide one thing.
const ruleInstancetypeConflict = "instancetype-conflict"

// Apply gives the VirtualMachine with t's sizes in it, to be judged as a whole, and what both decide, which
// KubeVirt refuses (pkg/instancetype/apply/cpu.go:110-158). v is not changed. The vCPUs come as sockets,
// unless a preference says otherwise, and how they come no rule depends on.
func (t *Instancetype) Apply(v *VMI) (*VMI, []Finding) {
	conflicts := Check(v, Strict) // the rules for VMs with an instancetype
	whole := *v
	whole.Instancetype = nil
	cpu, mine := &whole.Spec.Domain.CPU, t.CPU
	for _, field := range []struct {
		name      string
		both      bool
		undecided bool // by the VM
		take      func()
	}{
		{"dedicatedCpuPlacement", cpu.DedicatedCPUPlacement && mine.DedicatedCPUPlacement, !cpu.DedicatedCPUPlacement,
			func() { cpu.DedicatedCPUPlacement = mine.DedicatedCPUPlacement }},
		{"isolateEmulatorThread", cpu.IsolateEmulatorThread && mine.IsolateEmulatorThread, !cpu.IsolateEmulatorThread,
			func() { cpu.IsolateEmulatorThread = mine.IsolateEmulatorThread }},
		{"numa", cpu.NUMA != nil && mine.NUMA != nil, cpu.NUMA == nil, func() { cpu.NUMA = mine.NUMA }},
		{"realtime", cpu.Realtime != nil && mine.Realtime != nil, cpu.Realtime == nil, func() { cpu.Realtime = mine.Realtime }},
	} {
		if field.both {
			conflicts = append(conflicts, Finding{Rule: ruleInstancetypeConflict, Severity: Error, Field: "spec.template.spec.domain.cpu." + field.name,
				Message: fmt.Sprintf("%s decides it too; remove it from one of the two", t)})
		}
		if field.undecided {
			field.take()
		}
	}
	cpu.Sockets, cpu.Cores, cpu.Threads, cpu.MaxSockets = t.Guest, 1, 1, mine.MaxSockets
	whole.Spec.Domain.Resources.Requests.CPU, whole.Spec.Domain.Resources.Limits.CPU = nil, nil
	whole.Spec.Domain.Memory = t.Memory.under(v.Spec.Domain.Memory)
	if t.IOThreadsPolicy != nil && whole.Spec.Domain.IOThreadsPolicy == nil {
		whole.Spec.Domain.IOThreadsPolicy = t.IOThreadsPolicy
	}
	return &whole, conflicts
}

// under is m where the VM's own memory does not say otherwise.
func (m Memory) under(own Memory) Memory {
	if own.Guest != nil {
		m.Guest = own.Guest
	}
	if own.MaxGuest != nil {
		m.MaxGuest = own.MaxGuest
	}
	if own.Hugepages != nil {
		m.Hugepages = own.Hugepages
	}
	return m
}
