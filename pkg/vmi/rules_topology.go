// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"fmt"
	"strings"
)

// topologyRules are the rows of the table about the guest's topology, its emulator and its IO threads.
var topologyRules = []rule{
	{
		id: "threads-on-arm64", field: "domain.cpu.threads", from: ":773",
		broken: func(r *request) bool { return r.dedicated && r.architecture == architectureARM && r.cpu.Threads > 1 },
		message: func(r *request) string {
			return fmt.Sprintf("%d threads per core, and arm64 has 1; set 1", r.cpu.Threads)
		},
	},
	{
		id: "threads-more-than-two", field: "domain.cpu.threads", from: ":795",
		broken: func(r *request) bool { return r.dedicated && r.cpu.Threads > 2 },
		message: func(r *request) string {
			return fmt.Sprintf("%d threads per core, and a core has at most 2; set 1 or 2 and raise cores", r.cpu.Threads)
		},
	},
	{
		id: "cpu-feature-policy", field: "domain.cpu.features", from: "validCPUFeaturePolicies",
		broken: func(r *request) bool { _, bad := r.badFeaturePolicy(); return bad },
		message: func(r *request) string {
			policy, _ := r.badFeaturePolicy()
			return fmt.Sprintf("%q is not the policy of a feature; write force, require, optional, disable or forbid", abbreviate(policy))
		},
	},
	{
		id: "threads-need-smt", field: "domain.cpu.threads", level: warns,
		from:    "virtwrap/converter/vcpu/vcpu.go pins the threads of a guest core wherever there is room",
		broken:  func(r *request) bool { return r.dedicated && r.cpu.Threads == 2 && r.architecture != architectureARM },
		message: text("2 threads per core need nodes whose cores have two hardware threads each; others cannot take the VM"),
	},
	{
		id: "sockets-above-max", field: "domain.cpu.sockets", from: ":2045",
		broken: func(r *request) bool { return r.cpu.MaxSockets != 0 && r.sockets() > int64(r.cpu.MaxSockets) },
		message: func(r *request) string {
			return fmt.Sprintf("%d sockets are more than maxSockets = %d; raise maxSockets or ask for fewer", r.sockets(), r.cpu.MaxSockets)
		},
	},
	{
		id: "isolate-without-dedicated", field: "domain.cpu.isolateEmulatorThread", from: ":710",
		broken:  func(r *request) bool { return r.cpu.IsolateEmulatorThread && !r.dedicated },
		message: text("works only with dedicated CPUs; set cpu.dedicatedCpuPlacement: true"),
	},
	{
		id: "numa-without-dedicated", field: "domain.cpu.numa.guestMappingPassthrough", from: ":749",
		broken:  func(r *request) bool { return r.numaPassthrough() && !r.dedicated },
		message: text("works only with dedicated CPUs; set cpu.dedicatedCpuPlacement: true"),
	},
	{
		id: "numa-without-hugepages", field: "domain.cpu.numa.guestMappingPassthrough", from: ":759",
		broken:  func(r *request) bool { return r.numaPassthrough() && r.memory.Hugepages == nil },
		message: text("works only with huge pages; set memory.hugepages.pageSize"),
	},
	{
		id: "realtime-without-dedicated", field: "domain.cpu.realtime", from: ":1188",
		broken:  func(r *request) bool { return r.cpu.Realtime != nil && !r.dedicated },
		message: text("works only with dedicated CPUs; set cpu.dedicatedCpuPlacement: true"),
	},
	{
		id: "realtime-without-numa", field: "domain.cpu.realtime", from: ":1203",
		broken:  func(r *request) bool { return r.cpu.Realtime != nil && !r.numaPassthrough() },
		message: text("works only with the host's NUMA layout; set cpu.numa.guestMappingPassthrough: {}"),
	},
	{
		id: "realtime-without-isolation", field: "domain.cpu.isolateEmulatorThread", level: warns,
		from:    "nothing asks for it, and the emulator's threads then run on the real-time vCPUs' CPUs",
		broken:  func(r *request) bool { return r.dedicated && r.cpu.Realtime != nil && !r.cpu.IsolateEmulatorThread },
		message: text("the emulator would disturb the real-time vCPUs; set isolateEmulatorThread: true"),
	},
	{
		id: "realtime-mask", field: "domain.cpu.realtime.mask", level: warns,
		from: "pkg/hypervisor/kvm/realtime.go reads it only when the VM starts",
		broken: func(r *request) bool {
			return r.dedicated && r.cpu.Realtime != nil && badMask(r.cpu.Realtime.Mask, r.vcpus) != ""
		},
		message: func(r *request) string {
			return badMask(r.cpu.Realtime.Mask, r.vcpus) + "; write vCPUs such as 0-3,^1, or nothing for all"
		},
	},
	{
		id: "iothreads-policy-unknown", field: "domain.ioThreadsPolicy", from: ":401",
		broken: func(r *request) bool {
			return r.ioPolicy != nil && *r.ioPolicy != "shared" && *r.ioPolicy != "auto" && *r.ioPolicy != SupplementalPool
		},
		message: func(r *request) string {
			return fmt.Sprintf("%q is not a policy; write shared, auto or supplementalPool", abbreviate(*r.ioPolicy))
		},
	},
	{
		id: "iothreads-pool-empty", field: "domain.ioThreads.supplementalPoolThreadCount", from: ":421",
		broken:  func(r *request) bool { return r.ioPool() && r.ioThreads == 0 },
		message: text("the policy supplementalPool needs a number of threads; set 1 or more"),
	},
	{
		id: "iothreads-pool-unused", field: "domain.ioThreads.supplementalPoolThreadCount", level: warns,
		from:   "renderresources.go:120 counts the threads without looking at the policy",
		broken: func(r *request) bool { return r.dedicated && !r.ioPool() && r.ioThreads > 0 },
		message: func(r *request) string {
			return fmt.Sprintf("%d CPUs are reserved that no thread will use; set ioThreadsPolicy: supplementalPool or remove it", r.ioThreads)
		},
	},
	{
		id: "iothreads-pool-isolated", field: "domain.cpu.isolateEmulatorThread", level: warns,
		from: "pkg/hypervisor/kvm/runtime.go moves all threads but the vCPUs' into the cgroup housekeeping, which has the emulator's CPUs only",
		broken: func(r *request) bool {
			return r.dedicated && r.ioPool() && r.ioThreads > 0 && r.cpu.IsolateEmulatorThread
		},
		message: text("KubeVirt confines the IO threads to the emulator's CPUs, and the CPUs reserved for them stay idle; " +
			"use either isolateEmulatorThread or supplementalPool"),
	},
	{
		id: "cpus-odd", field: "domain.cpu", level: warns,
		from: "kubelet option full-pcpus-only (cpumanager/policy_static.go validateSMTAlignment): an odd number never fits whole cores of 2",
		broken: func(r *request) bool {
			return r.dedicated && r.cpu.IsolateEmulatorThread && r.podCPUs%2 == 1
		},
		message: func(r *request) string {
			return fmt.Sprintf("the launcher pod asks for %d CPUs, one of them for the emulator, and nodes that grant whole cores of 2 "+
				"(full-pcpus-only) never take an odd number; ask for one vCPU more or fewer, or set the annotation %s",
				r.podCPUs, EvenParityAnnotation)
		},
	},
	{
		id: "parity-pool-clash", field: "domain.ioThreads.supplementalPoolThreadCount", level: never,
		from: "template.go:1643 counts the threads twice, virtwrap/converter/vcpu/vcpu.go:529 once: " +
			"the pod gets 1 emulator CPU, the launcher wants 2",
		broken: func(r *request) bool { return r.evenParity() && r.ioPool() && r.ioThreads%2 == 1 && r.vcpus%2 == 1 },
		message: func(r *request) string {
			return fmt.Sprintf("with %d vCPUs, %d IO threads and the even parity of the emulator's CPUs the VM never starts; "+
				"make one of the two numbers even",
				r.vcpus, r.ioThreads)
		},
	},
	{
		id: "parity-pool-odd", field: "domain.ioThreads.supplementalPoolThreadCount", level: warns,
		from:   "the same two places the other way round: the pod gets 2 emulator CPUs, the launcher uses 1, the total is odd",
		broken: func(r *request) bool { return r.evenParity() && r.ioPool() && r.ioThreads%2 == 1 && r.vcpus%2 == 0 },
		message: func(r *request) string {
			return fmt.Sprintf("with %d vCPUs and %d IO threads the pod asks for an odd number of CPUs, "+
				"which nodes that grant whole cores refuse; make the number of IO threads even",
				r.vcpus, r.ioThreads)
		},
	},
	{
		id: "hook-sidecars-off", field: "metadata.annotations", from: ":1277",
		broken: func(r *request) bool {
			_, asked := r.annotations[HookSidecarsAnnotation]
			return asked && r.cluster.sidecarsOff()
		},
		message: text(HookSidecarsAnnotation + " needs the feature gate Sidecar, which is off in this cluster; turn it on in the KubeVirt object"),
	},
}

// instancetypeRules are the rows about VMs with an instancetype, for what KubeVirt refuses whatever the instancetype is.
var instancetypeRules = []rule{
	{
		id: "instancetype-sizes", field: "domain.cpu", instancetype: true, from: "pkg/instancetype/apply/cpu.go validateCPU",
		broken: func(r *request) bool { return len(r.sizes()) > 0 },
		message: func(r *request) string {
			return strings.Join(r.sizes(), ", ") + " beside an instancetype, which gives the number of CPUs; remove one of the two"
		},
	},
	besideInstancetype("instancetype-memory-guest", "domain.memory.guest", func(r *request) *Quantity { return r.memory.Guest }),
	besideInstancetype("instancetype-memory-requests", "domain.resources.requests.memory", func(r *request) *Quantity { return r.requests.Memory }),
	besideInstancetype("instancetype-memory-limits", "domain.resources.limits.memory", func(r *request) *Quantity { return r.limits.Memory }),
}

// besideInstancetype is the rule for an amount of memory that a VM must not give beside an instancetype.
func besideInstancetype(id, field string, amount func(*request) *Quantity) rule {
	return rule{
		id: id, field: field, instancetype: true, from: "pkg/instancetype/apply/memory.go validateMemory",
		broken: func(r *request) bool { return amount(r) != nil },
		message: func(r *request) string {
			return amount(r).Text + " beside an instancetype, which gives the memory; remove one of the two"
		},
	}
}
