// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"fmt"
	"slices"
	"strings"
)

// Topologies that a preference may ask for; the old names mean the same (KubeVirt
// staging/src/kubevirt.io/api/instancetype/v1beta1/types.go PreferredCPUTopology, commit d923fdb815cd).
const (
	topologySockets = "sockets"
	topologyCores   = "cores"
	topologyThreads = "threads"
	topologySpread  = "spread"
	topologyAny     = "any"
)

var topologies = map[string]string{
	"":              topologySockets,
	topologySockets: topologySockets, "preferSockets": topologySockets,
	topologyCores: topologyCores, "preferCores": topologyCores,
	topologyThreads: topologyThreads, "preferThreads": topologyThreads,
	topologySpread: topologySpread, "preferSpread": topologySpread,
	topologyAny: topologyAny, "preferAny": topologyAny,
}

// What vCPUs are spread over.
const (
	acrossSocketsCores        = "SocketsCores"
	acrossCoresThreads        = "CoresThreads"
	acrossSocketsCoresThreads = "SocketsCoresThreads"

	defaultSpreadRatio = 2
	threadsOfSpread    = 2 // of a core, where vCPUs are spread over sockets, cores and threads
)

// Preference is the part of a VirtualMachinePreference or VirtualMachineClusterPreference that corepin reads.
type Preference struct {
	Reference

	// Topology says what the vCPUs of an instancetype become, Across and Ratio how they are spread.
	Topology string
	Across   string
	Ratio    uint32
	// Features are CPU features for guests that do not name them.
	Features []CPUFeature
	// Architecture is that of guests that do not name one.
	Architecture string
	Annotations  map[string]string

	// RequiredGuest is the smallest number of vCPUs, RequiredMemory the smallest memory, and RequiredArchitecture the only
	// architecture. The zero value requires nothing.
	RequiredGuest        uint32
	RequiredMemory       *Quantity
	RequiredArchitecture string
}

// IsPreference reports whether PreferenceOf reads objects of that version and kind.
func IsPreference(apiVersion, kind string) bool {
	return strings.HasPrefix(apiVersion, instancetypeGroup) && slices.Contains([]string{KindPreference, KindClusterPreference}, kind)
}

// PreferenceOf reads a preference from decoded JSON, as unstructured.Unstructured holds it. Its error names every field
// that does not have its type, or a value that KubeVirt's webhook refuses (preference/webhooks/admitter.go).
func PreferenceOf(object map[string]any) (*Preference, error) {
	r := &reader{}
	root := node{r: r, value: object}
	p := &Preference{Reference: ownReference(root, KindPreference)}
	spec := root.at("spec")
	cpu := spec.at("cpu")
	p.Topology = topologies[cpu.at("preferredCPUTopology").text()]
	if p.Topology == "" {
		r.fail("spec.cpu.preferredCPUTopology", "must be sockets, cores, threads, spread or any")
	}
	p.readSpread(spec)
	p.Features = decodeFeatures(cpu.at("preferredCPUFeatures"))
	p.Architecture = spec.at("preferredArchitecture").text()
	p.Annotations = spec.at("annotations").texts()
	requirements := spec.at("requirements")
	p.RequiredGuest = requirements.at("cpu").at("guest").count()
	p.RequiredMemory = requirements.at("memory").at("guest").quantity()
	p.RequiredArchitecture = requirements.at("architecture").text()
	if len(r.problems) > 0 {
		return nil, fmt.Errorf("reading %s: %s", p, strings.Join(r.problems, "; "))
	}
	return p, nil
}

// readSpread reads how vCPUs are spread (preference/apply/cpu.go GetSpreadOptions).
func (p *Preference) readSpread(spec node) {
	p.Ratio = spec.at("preferSpreadSocketToCoreRatio").count()
	if p.Ratio == 0 {
		p.Ratio = defaultSpreadRatio
	}
	options := spec.at("cpu").at("spreadOptions")
	ratio := options.at("ratio")
	if ratio.value != nil {
		p.Ratio = ratio.count()
	}
	p.Across = options.at("across").text()
	if p.Across == "" {
		p.Across = acrossSocketsCores
	}
	switch {
	case p.Topology != topologySpread:
	case !slices.Contains([]string{acrossSocketsCores, acrossCoresThreads, acrossSocketsCoresThreads}, p.Across):
		spec.r.fail("spec.cpu.spreadOptions.across", "must be SocketsCores, CoresThreads or SocketsCoresThreads")
	case p.Across == acrossCoresThreads && p.Ratio != threadsOfSpread:
		spec.r.fail("spec.cpu.spreadOptions.ratio", "must be 2 when vCPUs are spread over cores and threads")
	case p.Ratio == 0:
		spec.r.fail("spec.cpu.spreadOptions.ratio", "must be 1 or more")
	}
}

const (
	rulePreferenceSpread       = "preference-spread"
	rulePreferenceRequirements = "preference-requirements"
)

// spreads reports that the vCPUs of an instancetype cannot be spread as p asks (preference/validation/cpu.go CheckSpreadCPUTopology).
func (p *Preference) spreads(t *Instancetype, kind string) []Finding {
	if p == nil || p.Topology != topologySpread {
		return nil
	}
	divisor := p.Ratio
	if p.Across == acrossSocketsCoresThreads {
		divisor = threadsOfSpread * min(p.Ratio, 1<<30)
	}
	if t.Guest%divisor == 0 {
		return nil
	}
	return []Finding{{
		Rule: rulePreferenceSpread, Severity: Error, Field: vmPath(kind) + "preference",
		Message: fmt.Sprintf("%s has %d vCPUs, and %s spreads them over %s in multiples of %d; choose another of the two", t, t.Guest, p, p.Across, divisor),
	}}
}

// vmPath is the path of spec of a VirtualMachine in an object of a kind.
func vmPath(kind string) string {
	if kind == KindPool {
		return "spec.virtualMachineTemplate.spec."
	}
	return "spec."
}

// setTopology gives the guest so many vCPUs as p prefers them, which may be nil (apply/cpu.go applyGuestCPUTopology).
func (c *CPU) setTopology(vcpus uint32, p *Preference) {
	c.Sockets = 1
	c.Cores = 1
	c.Threads = 1
	topology := topologySockets
	if p != nil {
		topology = p.Topology
	}
	switch {
	case vcpus == 1:
	case topology == topologyCores:
		c.Cores = vcpus
	case topology == topologyThreads:
		c.Threads = vcpus
	case topology != topologySpread:
		c.Sockets = vcpus
	case p.Across == acrossSocketsCores:
		c.Cores = p.Ratio
		c.Sockets = vcpus / p.Ratio
	case p.Across == acrossCoresThreads:
		c.Threads = p.Ratio
		c.Cores = vcpus / p.Ratio
	default:
		c.Threads = threadsOfSpread
		c.Cores = p.Ratio
		c.Sockets = vcpus / threadsOfSpread / p.Ratio
	}
}

// apply fills in what a VirtualMachine leaves open (preference/apply/vmi.go Apply).
func (p *Preference) apply(v *VMI) {
	cpu := &v.Spec.Domain.CPU
	features := slices.Clone(cpu.Features)
	for _, feature := range p.Features {
		named := func(own CPUFeature) bool { return own.Name == feature.Name }
		if !slices.ContainsFunc(cpu.Features, named) {
			features = append(features, feature)
		}
	}
	cpu.Features = features
	if v.Spec.Architecture == "" {
		v.Spec.Architecture = p.Architecture
	}
	v.Annotations = merged(v.Annotations, p.Annotations)
}

// unmet are the requirements of p that the VirtualMachine does not meet, which KubeVirt asks after its defaulting
// (preference/requirements). t is its instancetype, nil for none.
func (p *Preference) unmet(v *VMI, t *Instancetype) []Finding {
	if v.Instancetype != nil {
		return nil // its sizes are not known
	}
	filled := *v
	filled.Default()
	var findings []Finding
	add := func(field, format string, args ...any) {
		findings = append(findings, Finding{Rule: rulePreferenceRequirements, Severity: Error, Field: field, Message: fmt.Sprintf(format, args...)})
	}
	vcpus := p.countedVCPUs(&filled, t)
	if vcpus < p.RequiredGuest {
		add(vmPath(v.Kind)+"preference", "%s needs %d vCPUs, and the VM has %d by what it counts; choose another preference or more vCPUs", p, p.RequiredGuest, vcpus)
	}
	memory := filled.Spec.Domain.Memory.Guest
	if p.RequiredMemory != nil && (memory == nil || memory.Cmp(p.RequiredMemory.Quantity) < 0) {
		has := "none"
		if memory != nil {
			has = memory.Text
		}
		add(vmPath(v.Kind)+"preference", "%s needs %s of memory, and the VM has %s; choose another preference or more memory", p, p.RequiredMemory.Text, has)
	}
	if p.RequiredArchitecture != "" && p.RequiredArchitecture != filled.Spec.Architecture {
		add(templatePath(v.Kind)+"spec.architecture", "%s needs %s, and the VM has %s; choose another preference or architecture", p, p.RequiredArchitecture, filled.Spec.Architecture)
	}
	return findings
}

// countedVCPUs is the number of vCPUs that KubeVirt holds against the requirement: an instancetype's, or the part of the
// VM's own topology that the preference is about (requirements/cpu.go checkCPU). What is not given counts as 0 there.
func (p *Preference) countedVCPUs(v *VMI, t *Instancetype) uint32 {
	if t != nil {
		return t.Guest
	}
	cpu := v.Spec.Domain.CPU
	switch {
	case p.Topology == topologyThreads:
		return cpu.Threads
	case p.Topology == topologyCores:
		return cpu.Cores
	case p.Topology == topologySockets:
		return cpu.Sockets
	case p.Topology == topologySpread && p.Across == acrossSocketsCores:
		return cpu.Sockets * cpu.Cores
	case p.Topology == topologySpread && p.Across == acrossCoresThreads:
		return cpu.Cores * cpu.Threads
	}
	return cpu.Sockets * cpu.Cores * cpu.Threads
}
