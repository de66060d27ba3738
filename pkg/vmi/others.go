// SPDX-License-Identifier: Apache-2.0

package vmi

import "fmt"

// What memory that is plugged in needs (KubeVirt pkg/liveupdate/memory/memory.go ValidateLiveUpdateMemory, commit d923fdb815cd).
const (
	memoryBlock     = 2 << 20 // bytes, the unit of plugged memory
	largePages      = "1Gi"   // with pages of this size the unit is a page
	largeBlock      = 1 << 30
	leastHotplugged = 1 << 30 // bytes that the guest must have from the start
)

// other is what is wrong about a field of spec; without a message nothing is.
type other struct{ rule, field, message string }

// Others are what KubeVirt refuses of a VM besides the table of rules, for reasons that have nothing to do with the CPUs that it gets.
// Neither the policy nor the scheduler looks at them: KubeVirt does.
func (c Cluster) Others(v *VMI, strictness Strictness) []Finding {
	if v.Instancetype != nil {
		return nil // what it asks for is not known
	}
	filled := *v
	if v.defaulted() {
		filled.Default()
	}
	// KubeVirt looks at the architecture of VMIs only. A VirtualMachine passes, and never starts.
	late := Error
	if strictness == KubeVirt && (v.Kind == KindVM || v.Kind == KindPool) {
		late = Warning
	}
	var findings []Finding
	add := func(severity Severity, o other) {
		if o.message != "" {
			findings = append(findings, Finding{Rule: o.rule, Severity: severity, Field: templatePath(v.Kind) + "spec." + o.field, Message: o.message})
		}
	}
	add(Error, c.pluggedMemory(&filled))
	add(Error, pagesOfNothing(&filled))
	add(late, ofArchitecture(&filled))
	if late == Warning && newRequest(&filled, strictness).memoryMissingLater() {
		add(late, other{"memory-missing-later", "domain.memory.guest", "no memory is given, and KubeVirt refuses to start such a VM; set it, for example to 2Gi"})
	}
	return findings
}

// Unexpanded are what KubeVirt refuses of a pool's template, which it judges without the instancetype (vmpool-admitter.go
// ValidateVMPoolSpec, commit d923fdb815cd).
func (c Cluster) Unexpanded(v *VMI) []Finding {
	if v.Kind != KindPool || v.Instancetype == nil {
		return nil
	}
	raw := *v
	raw.Instancetype = nil
	findings := Errors(append(c.check(&raw, KubeVirt), c.Others(&raw, KubeVirt)...))
	for i := range findings {
		findings[i].Message += "; KubeVirt judges the template of a pool without its instancetype, so let that decide about CPUs and memory"
	}
	return findings
}

// pluggedMemory judges the memory to which a guest may grow while it runs.
func (c Cluster) pluggedMemory(v *VMI) (out other) {
	memory := v.Spec.Domain.Memory
	if c.Staged || memory.MaxGuest == nil || (v.Kind != KindVM && v.Kind != KindPool) {
		return out
	}
	block := int64(memoryBlock)
	if memory.Hugepages != nil && memory.Hugepages.PageSize == largePages {
		block = largeBlock
	}
	out.rule = "memory-hotplug"
	out.field = "domain.memory.maxGuest"
	switch guest := memory.Guest; {
	case guest == nil:
		out.message = "memory.guest is missing, from which the guest could grow; set it"
	case guest.Cmp(memory.MaxGuest.Quantity) > 0:
		out.message = fmt.Sprintf("%s is less than memory.guest = %s; raise it", memory.MaxGuest.Text, guest.Text)
	case guest.Value()%block != 0:
		out.field = "domain.memory.guest"
		out.message = fmt.Sprintf("%s is not a multiple of %d MiB, the unit in which memory is plugged in; make it one, or remove maxGuest", guest.Text, block>>20)
	case memory.MaxGuest.Value()%block != 0:
		out.message = fmt.Sprintf("%s is not a multiple of %d MiB, the unit in which memory is plugged in; make it one", memory.MaxGuest.Text, block>>20)
	case v.Spec.Architecture != architectureAMD:
		out.message = "memory can be plugged in on amd64 only; set architecture: amd64, or remove it"
	case guest.Value() < leastHotplugged:
		out.field = "domain.memory.guest"
		out.message = fmt.Sprintf("%s is less than 1Gi, and such a guest cannot grow; raise it, or remove maxGuest", guest.Text)
	}
	return out
}

// pagesOfNothing judges a template with huge pages and no memory for them. KubeVirt's webhook crashes on it (vmi-create-admitter.go:1069,
// validateHugepagesMemoryRequests) unless defaulting has filled the guest's memory in, and so nobody can make the object.
func pagesOfNothing(v *VMI) other {
	domain := v.Spec.Domain
	if domain.Memory.Hugepages == nil || domain.Memory.Guest != nil || given(domain.Resources.Requests.Memory) {
		return other{}
	}
	return other{"hugepages-without-memory", "domain.memory.guest", "is missing beside huge pages, and KubeVirt makes no set of such VMs; set it"}
}

// ofArchitecture judges the architecture, and the CPU model of a guest on arm64 (vmi-create-admitter.go
// ValidateVirtualMachineInstancePerArch, pkg/virt-api/webhooks/arm64.go validateCPUModel).
func ofArchitecture(v *VMI) other {
	model := v.Spec.Domain.CPU.Model
	switch v.Spec.Architecture {
	case "", architectureAMD, "s390x": // "" in the template of a set, whose VMIs get that of the cluster
	case architectureARM:
		if model != "" && model != "host-passthrough" {
			return other{"model-on-arm64", "domain.cpu.model", abbreviate(model) + " is asked for, and arm64 has host-passthrough only; remove it"}
		}
	default:
		return other{"architecture-unknown", "architecture",
			fmt.Sprintf("%q is not an architecture of KubeVirt; write amd64, arm64 or s390x", abbreviate(v.Spec.Architecture))}
	}
	return other{}
}
