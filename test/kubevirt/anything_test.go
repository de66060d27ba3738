// SPDX-License-Identifier: Apache-2.0

//go:build system

package kubevirt

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"corepin.dev/corepin/pkg/vmi"
)

// anything makes objects at random, of all kinds that check judges. Each field that a verdict depends on is left out, or has one of
// the values that users write, or one that KubeVirt refuses.
type anything struct {
	*rand.Rand
	instancetypes, preferences []map[string]any
}

type object = map[string]any

// rarely, sometimes and mostly are chances in a hundred.
const (
	rarely    = 8
	sometimes = 30
	mostly    = 75
)

func (a *anything) chance(percent int) bool { return a.IntN(100) < percent }

func (a *anything) of(options ...any) any { return options[a.IntN(len(options))] }

// maybe sets a field to one of the options, by chance.
func (a *anything) maybe(o object, percent int, field string, options ...any) {
	if a.chance(percent) {
		o[field] = a.of(options...)
	}
}

// cpu is spec.cpu of an instancetype or spec.domain.cpu, whose fields differ in the name of dedicated.
func (a *anything) cpu(dedicated string, percent int) object {
	o := object{}
	a.maybe(o, percent, dedicated, true, true, true, false)
	a.maybe(o, percent*sometimes/100, "isolateEmulatorThread", true, false)
	a.maybe(o, rarely, "numa", object{"guestMappingPassthrough": object{}}, object{})
	a.maybe(o, rarely, "realtime", object{}, object{"mask": "0-1"})
	a.maybe(o, rarely, "model", "host-model", "host-passthrough", "Nehalem", "")
	a.maybe(o, rarely, "maxSockets", 1, 2, 4, 8, 64)
	return o
}

func (a *anything) topology(cpu object) {
	a.maybe(cpu, sometimes, "sockets", 1, 2, 3, 4, 8, 0)
	a.maybe(cpu, sometimes, "cores", 1, 2, 3, 4, 5, 8, 0, 600)
	a.maybe(cpu, sometimes, "threads", 1, 2, 2, 3, 0)
	if a.chance(rarely) {
		feature := object{"name": a.of("apic", "vmx", "pcid")}
		a.maybe(feature, mostly, "policy", "require", "forbid", "optional", "disable", "force", "", "wanted")
		cpu["features"] = []any{feature}
	}
}

func (a *anything) memory(percent int) object {
	o := object{}
	a.maybe(o, percent, "guest", "64Mi", "1Gi", "2Gi", "2049Mi", "8Gi", "100", "0", "1500M")
	a.maybe(o, rarely, "maxGuest", "64Mi", "2Gi", "8Gi", "8193Mi", "16Gi")
	a.maybe(o, sometimes/2, "hugepages", object{"pageSize": "2Mi"}, object{"pageSize": "1Gi"}, object{"pageSize": "64Ki"}, object{"pageSize": "big"}, object{})
	return o
}

func (a *anything) amounts() object {
	o := object{}
	a.maybe(o, sometimes, "cpu", 1, 2, "2", 4, "1500m", "2000m", "0", "-1", 8)
	a.maybe(o, sometimes, "memory", "64Mi", "1Gi", "2Gi", "2049Mi", "4Gi", "8Gi", "100k", "0", "-1Gi")
	return o
}

func (a *anything) resources() object {
	o := object{}
	if a.chance(mostly) {
		o["requests"] = a.amounts()
	}
	if a.chance(sometimes) {
		o["limits"] = a.amounts()
	}
	a.maybe(o, rarely, "overcommitGuestOverhead", true, false)
	return o
}

func (a *anything) ioThreads(o object, percent int) {
	a.maybe(o, percent, "ioThreadsPolicy", "shared", "auto", "supplementalPool", "supplementalPool", "many")
	a.maybe(o, percent, "ioThreads", object{"supplementalPoolThreadCount": a.IntN(5)}, object{})
}

// vmiSpec is spec of a VMI. With an instancetype most is left to that.
func (a *anything) vmiSpec(sized bool) object {
	domain := object{"devices": object{}}
	spec := object{"schedulerName": "corepin", "domain": domain}
	if sized {
		if a.chance(mostly) {
			delete(spec, "schedulerName")
		}
		if a.chance(sometimes / 2) {
			domain["cpu"] = a.cpu("dedicatedCpuPlacement", sometimes)
		}
		if a.chance(rarely) {
			domain["memory"] = a.memory(sometimes)
		}
		if a.chance(rarely) {
			domain["resources"] = a.resources()
		}
		a.ioThreads(domain, rarely)
	} else {
		cpu := a.cpu("dedicatedCpuPlacement", mostly)
		a.topology(cpu)
		domain["cpu"] = cpu
		domain["memory"] = a.memory(mostly)
		if a.chance(sometimes) {
			domain["resources"] = a.resources()
		}
		a.ioThreads(domain, sometimes/2)
	}
	a.maybe(spec, rarely, "architecture", "amd64", "arm64")
	return spec
}

func (a *anything) annotations(metadata object) {
	if a.chance(rarely) {
		metadata["annotations"] = map[string]any{vmi.EvenParityAnnotation: ""}
	}
}

// reference names an instancetype or a preference in one of the ways that KubeVirt understands.
func (a *anything) reference(to object) object {
	name := to["metadata"].(map[string]any)["name"]
	kind := to["kind"].(string)
	ref := object{"name": name}
	namespaced := !strings.Contains(kind, "Cluster")
	if namespaced || a.chance(50) {
		ref["kind"] = a.of(kind, strings.ToLower(kind), kind+"s", strings.ToLower(kind)+"s")
	}
	return ref
}

// template is spec.template of a VirtualMachine or a replica set, and instancetype and preference of the former.
func (a *anything) template(sized bool) object {
	metadata := object{"labels": object{"of": "anything"}}
	a.annotations(metadata)
	return object{"metadata": metadata, "spec": a.vmiSpec(sized)}
}

func (a *anything) vmSpec() object {
	spec := object{"runStrategy": "Halted"}
	sized := a.chance(60)
	if sized {
		spec["instancetype"] = a.reference(a.instancetypes[a.IntN(len(a.instancetypes))])
	}
	if a.chance(60) {
		spec["preference"] = a.reference(a.preferences[a.IntN(len(a.preferences))])
	}
	spec["template"] = a.template(sized)
	return spec
}

// machine is an object that is a virtual machine or makes some.
func (a *anything) machine(i int) object {
	kind := a.of(vmi.KindVMI, vmi.KindVM, vmi.KindVM, vmi.KindVM, vmi.KindReplicaSet, vmi.KindPool).(string)
	metadata := object{"name": fmt.Sprintf("m%d", i), "namespace": "default"}
	o := object{"apiVersion": a.of("kubevirt.io/v1", "kubevirt.io/v1", "kubevirt.io/v1alpha3"), "kind": kind, "metadata": metadata}
	selector := object{"matchLabels": object{"of": "anything"}}
	switch kind {
	case vmi.KindVMI:
		a.annotations(metadata)
		o["spec"] = a.vmiSpec(false)
	case vmi.KindVM:
		o["spec"] = a.vmSpec()
	case vmi.KindReplicaSet:
		o["spec"] = object{"replicas": 2, "selector": selector, "template": a.template(false)}
	case vmi.KindPool:
		o["apiVersion"] = a.of("pool.kubevirt.io/v1beta1", "pool.kubevirt.io/v1alpha1")
		template := object{"metadata": object{"labels": object{"of": "anything"}}, "spec": a.vmSpec()}
		o["spec"] = object{"replicas": 2, "selector": selector, "virtualMachineTemplate": template}
	}
	return o
}

// definition is an instancetype or a preference, of one namespace or of all.
func (a *anything) definition(i int, kind, clusterKind string, spec object) object {
	metadata := object{"name": fmt.Sprintf("any%d", i)}
	o := object{"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": clusterKind, "metadata": metadata, "spec": spec}
	if a.chance(sometimes) {
		o["kind"] = kind
		metadata["namespace"] = "default"
	}
	return o
}

func (a *anything) instancetype(i int) object {
	cpu := a.cpu("dedicatedCPUPlacement", mostly)
	cpu["guest"] = a.of(1, 2, 3, 4, 6, 8, 0)
	memory := a.memory(100)
	a.maybe(memory, rarely, "overcommitPercent", 0, 10, 50, 100, 101)
	spec := object{"cpu": cpu, "memory": memory}
	a.ioThreads(spec, rarely)
	a.maybe(spec, rarely, "schedulerName", "corepin", "other")
	a.maybe(spec, rarely, "annotations", object{vmi.EvenParityAnnotation: ""}, object{"a": "b"})
	return a.definition(i, vmi.KindInstancetype, vmi.KindClusterInstancetype, spec)
}

func (a *anything) preference(i int) object {
	cpu := object{}
	spec := object{}
	a.maybe(cpu, mostly, "preferredCPUTopology", "sockets", "cores", "threads", "spread", "spread", "any",
		"preferSockets", "preferCores", "preferThreads", "preferSpread", "preferAny", "spiral")
	options := object{}
	a.maybe(options, 50, "across", "SocketsCores", "CoresThreads", "SocketsCoresThreads", "Threads")
	a.maybe(options, 50, "ratio", 1, 2, 2, 3, 4)
	if a.chance(sometimes) {
		cpu["spreadOptions"] = options
	}
	if a.chance(rarely) {
		cpu["preferredCPUFeatures"] = []any{object{"name": "apic", "policy": a.of("require", "wanted")}}
	}
	a.maybe(spec, rarely, "preferSpreadSocketToCoreRatio", 2, 3, 4)
	a.maybe(spec, rarely, "preferredArchitecture", "amd64", "arm64")
	a.maybe(spec, rarely, "annotations", object{vmi.EvenParityAnnotation: ""}, object{"a": "c"})
	requirements := object{}
	a.maybe(requirements, sometimes, "cpu", object{"guest": 1}, object{"guest": 2}, object{"guest": 4})
	a.maybe(requirements, sometimes, "memory", object{"guest": "64Mi"}, object{"guest": "2Gi"})
	a.maybe(requirements, rarely, "architecture", "amd64", "arm64")
	if a.chance(sometimes) {
		spec["requirements"] = requirements
	}
	spec["cpu"] = cpu
	return a.definition(i, vmi.KindPreference, vmi.KindClusterPreference, spec)
}
