// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Kinds of instancetypes and preferences: of one namespace, and of all.
const (
	KindInstancetype        = "VirtualMachineInstancetype"
	KindClusterInstancetype = "VirtualMachineClusterInstancetype"
	KindPreference          = "VirtualMachinePreference"
	KindClusterPreference   = "VirtualMachineClusterPreference"

	instancetypeGroup = "instancetype.kubevirt.io/"
)

// KindRevision is the kind of the object in which KubeVirt keeps an instancetype or a preference as it was when a VM first started.
const KindRevision = "ControllerRevision"

// Reference names an instancetype or a preference. Namespace is empty for one of all namespaces. Name is empty for one
// that KubeVirt infers from a volume.
type Reference struct {
	Kind      string
	Namespace string
	Name      string
	// Revision is the ControllerRevision that counts in its place, in the namespace of the VM; "" for none.
	Revision string
}

// String is the name as users see it.
func (n Reference) String() string {
	if n.Revision != "" {
		return n.Kind + " " + n.Name + " as " + KindRevision + " " + n.Revision + " has it"
	}
	if n.Name == "" {
		return "a " + n.Kind + " inferred from a volume"
	}
	return n.Kind + " " + strings.TrimPrefix(n.Namespace+"/"+n.Name, "/")
}

// reference reads a VirtualMachine's spec.instancetype or spec.preference. The kind may be written in any case and in the
// plural. Without a kind the object is one of all namespaces. What KubeVirt refuses here (pkg/instancetype/webhooks/vm/mutator.go
// validateInstancetypeMatcher, commit d923fdb815cd) is a problem.
func reference(ref node, namespace, clusterKind, namespacedKind string) *Reference {
	if !ref.isObject() {
		return nil
	}
	name := &Reference{Kind: clusterKind, Name: ref.at("name").text(), Revision: ref.at("revisionName").text()}
	kind := ref.at("kind").text()
	switch singular := strings.TrimSuffix(kind, "s"); {
	case strings.EqualFold(singular, namespacedKind):
		name.Kind = namespacedKind
		name.Namespace = namespace
	case kind != "" && !strings.EqualFold(singular, clusterKind):
		name.Kind = kind
	}
	volume := ref.at("inferFromVolume").text()
	switch {
	case name.Name == "" && volume == "":
		ref.r.fail(ref.path, "names nothing; set name or inferFromVolume")
	case volume != "" && (name.Name != "" || kind != ""):
		ref.r.fail(ref.path+".inferFromVolume", "decides name and kind; remove those, or it")
	}
	policy := ref.at("inferFromVolumeFailurePolicy").optionalText()
	if policy != nil && *policy != "Ignore" && *policy != "Reject" {
		ref.r.fail(ref.path+".inferFromVolumeFailurePolicy", "must be Ignore or Reject")
	}
	return name
}

// Instancetype is the part of a VirtualMachineInstancetype or VirtualMachineClusterInstancetype that corepin
// reads (KubeVirt staging/src/kubevirt.io/api/instancetype/v1beta1/types.go, commit d923fdb815cd).
type Instancetype struct {
	Reference

	// Guest is the number of vCPUs.
	Guest uint32
	// CPU has the other fields of spec.cpu. Of the guest's topology that is MaxSockets only.
	CPU CPU
	// decides has the names of the boolean fields of spec.cpu that are written down, with whatever value.
	decides map[string]bool
	// Memory is spec.memory.
	Memory Memory
	// OvercommitPercent is how much less memory than the guest's is requested.
	OvercommitPercent uint32
	IOThreadsPolicy   *string
	IOThreads         *IOThreads
	SchedulerName     string
	Annotations       map[string]string
}

// IsInstancetype reports whether InstancetypeOf reads objects of that version and kind.
func IsInstancetype(apiVersion, kind string) bool {
	return strings.HasPrefix(apiVersion, instancetypeGroup) && slices.Contains([]string{KindInstancetype, KindClusterInstancetype}, kind)
}

// InstancetypeOf reads an instancetype from decoded JSON, as unstructured.Unstructured holds it. Its error names
// every field that does not have its type, or a value that KubeVirt's webhook refuses (pkg/instancetype/webhooks/admitter.go).
func InstancetypeOf(object map[string]any) (*Instancetype, error) {
	r := &reader{}
	root := node{r: r, value: object}
	t := &Instancetype{Reference: ownReference(root, KindInstancetype)}
	spec := root.at("spec")
	cpu := spec.at("cpu")
	t.Guest = cpu.at("guest").count()
	t.CPU = CPU{
		MaxSockets:            cpu.at("maxSockets").count(),
		Model:                 cpu.at("model").text(),
		DedicatedCPUPlacement: cpu.at("dedicatedCPUPlacement").boolean(),
		IsolateEmulatorThread: cpu.at("isolateEmulatorThread").boolean(),
		NUMA:                  decodeNUMA(cpu.at("numa")),
		Realtime:              decodeRealtime(cpu.at("realtime")),
	}
	t.decides = map[string]bool{}
	for _, field := range []string{"model", "dedicatedCPUPlacement", "isolateEmulatorThread"} {
		t.decides[field] = cpu.at(field).value != nil
	}
	cpu.refuseMisspelled("dedicatedCPUPlacement")
	t.Memory = decodeMemory(spec.at("memory"))
	t.OvercommitPercent = spec.at("memory").at("overcommitPercent").count()
	t.IOThreadsPolicy = spec.at("ioThreadsPolicy").optionalText()
	t.IOThreads = decodeIOThreads(spec.at("ioThreads"))
	t.SchedulerName = spec.at("schedulerName").text()
	t.Annotations = spec.at("annotations").texts()
	if cpu.at("guest").value == nil {
		r.fail("spec.cpu.guest", "is missing")
	}
	if t.OvercommitPercent > 100 {
		r.fail("spec.memory.overcommitPercent", "must be a whole number from 0 to 100")
	}
	if t.OvercommitPercent > 0 && t.Memory.Hugepages != nil {
		r.fail("spec.memory.overcommitPercent", "must not stand beside hugepages; remove one of the two")
	}
	if len(r.problems) > 0 {
		return nil, fmt.Errorf("reading %s: %s", t, strings.Join(r.problems, "; "))
	}
	return t, nil
}

// ownReference names an object that is one of a namespace if it has that kind.
func ownReference(root node, namespacedKind string) Reference {
	name := Reference{Kind: root.at("kind").text(), Name: root.at("metadata").at("name").text()}
	if name.Kind == namespacedKind {
		name.Namespace = root.at("metadata").at("namespace").text()
	}
	return name
}

// ruleInstancetypeConflict is broken where a VM and its instancetype both decide the same field.
const ruleInstancetypeConflict = "instancetype-conflict"

// Expand returns the VirtualMachine with its instancetype's sizes and its preference's wishes in it, to be judged as a
// whole, and why KubeVirt refuses the combination. Either may be nil. v is not changed.
//
// It follows pkg/instancetype/webhooks/vm/admitter.go ApplyToVM and the functions under pkg/instancetype/apply and
// pkg/instancetype/preference (commit d923fdb815cd).
func Expand(v *VMI, t *Instancetype, p *Preference) (*VMI, []Finding) {
	whole := *v
	var findings []Finding
	if t != nil {
		findings = append(findings, Check(v, Standard)...) // the rules for VMs with an instancetype
		findings = append(findings, p.spreads(t, v.Kind)...)
		findings = append(findings, t.conflicts(v)...)
		whole.Instancetype = nil
		t.apply(&whole)
		whole.Spec.Domain.CPU.setTopology(t.Guest, p)
	}
	if p != nil {
		whole.Preference = nil
		p.apply(&whole)
		findings = append(findings, p.unmet(&whole, t)...)
	}
	if t != nil && whole.Spec.Architecture == "" { // A pool's template may have none, and its VMs get the cluster's.
		whole.Spec.Architecture = architectureAMD
	}
	return &whole, findings
}

// conflicts are the fields that both v and t decide, apart from the sizes that the table of rules covers.
func (t *Instancetype) conflicts(v *VMI) []Finding {
	domain := v.Spec.Domain
	var findings []Finding
	for _, field := range []struct {
		name string
		both bool
	}{
		{"schedulerName", v.Spec.SchedulerName != "" && t.SchedulerName != ""},
		{"domain.cpu.model", domain.CPU.Model != "" && t.decides["model"]},
		{"domain.cpu.dedicatedCpuPlacement", domain.CPU.DedicatedCPUPlacement && t.decides["dedicatedCPUPlacement"]},
		{"domain.cpu.isolateEmulatorThread", domain.CPU.IsolateEmulatorThread && t.decides["isolateEmulatorThread"]},
		{"domain.cpu.numa", domain.CPU.NUMA != nil && t.CPU.NUMA != nil},
		{"domain.cpu.realtime", domain.CPU.Realtime != nil && t.CPU.Realtime != nil},
		{"domain.memory.hugepages", domain.Memory.Hugepages != nil && t.Memory.Hugepages != nil},
		{"domain.memory.maxGuest", domain.Memory.MaxGuest != nil && t.Memory.MaxGuest != nil},
		{"domain.ioThreads.supplementalPoolThreadCount", domain.IOThreads.counted() && t.IOThreads.counted()},
		{"domain.ioThreadsPolicy", domain.IOThreadsPolicy != nil && t.IOThreadsPolicy != nil},
	} {
		if field.both {
			findings = append(findings, t.conflict(v.Kind, "spec."+field.name))
		}
	}
	for key, value := range v.Annotations {
		if other, both := t.Annotations[key]; both && other != value {
			findings = append(findings, t.conflict(v.Kind, "metadata.annotations"))
			break
		}
	}
	return findings
}

func (t *Instancetype) conflict(kind, field string) Finding {
	return Finding{
		Rule: ruleInstancetypeConflict, Severity: Error, Field: templatePath(kind) + field,
		Message: fmt.Sprintf("%s decides it too; remove it from one of the two", t),
	}
}

// counted reports whether a number of IO threads is written down.
func (t *IOThreads) counted() bool { return t != nil && t.SupplementalPoolThreadCount != nil }

// apply writes t's fields into a VirtualMachine, except the guest's topology.
func (t *Instancetype) apply(v *VMI) {
	cpu := &v.Spec.Domain.CPU
	if t.decides["model"] {
		cpu.Model = t.CPU.Model
	}
	if t.decides["dedicatedCPUPlacement"] {
		cpu.DedicatedCPUPlacement = t.CPU.DedicatedCPUPlacement
	}
	if t.decides["isolateEmulatorThread"] {
		cpu.IsolateEmulatorThread = t.CPU.IsolateEmulatorThread
	}
	if t.CPU.NUMA != nil {
		cpu.NUMA = t.CPU.NUMA
	}
	if t.CPU.Realtime != nil {
		cpu.Realtime = t.CPU.Realtime
	}
	if t.CPU.MaxSockets != 0 {
		cpu.MaxSockets = t.CPU.MaxSockets
	}
	domain := &v.Spec.Domain
	domain.Resources.Requests = Amounts{Memory: t.memoryRequest()}
	domain.Resources.Limits = Amounts{}
	domain.Memory.Guest = t.Memory.Guest
	if t.Memory.Hugepages != nil {
		domain.Memory.Hugepages = t.Memory.Hugepages
	}
	if t.Memory.MaxGuest != nil {
		domain.Memory.MaxGuest = t.Memory.MaxGuest
	}
	if t.IOThreads.counted() {
		domain.IOThreads = t.IOThreads
	}
	if t.IOThreadsPolicy != nil {
		domain.IOThreadsPolicy = t.IOThreadsPolicy
	}
	if t.SchedulerName != "" {
		v.Spec.SchedulerName = t.SchedulerName
	}
	v.Annotations = merged(v.Annotations, t.Annotations)
}

// memoryRequest is what an overcommitting instancetype requests (apply/memory.go applyMemory, with its arithmetic); nil for others.
func (t *Instancetype) memoryRequest() *Quantity {
	if t.OvercommitPercent == 0 || t.Memory.Guest == nil {
		return nil
	}
	bytes := int64(float32(t.Memory.Guest.Count()) * (1 - float32(t.OvercommitPercent)/100))
	request := resource.NewQuantity(bytes, resource.BinarySI)
	return &Quantity{Quantity: *request, Text: request.String()}
}

// merged is annotations with those of others that are not among them.
func merged(annotations, others map[string]string) map[string]string {
	if len(others) == 0 {
		return annotations
	}
	out := map[string]string{}
	for key, value := range others {
		out[key] = value
	}
	for key, value := range annotations {
		out[key] = value
	}
	return out
}
