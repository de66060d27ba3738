// SPDX-License-Identifier: Apache-2.0

package vmi

import "fmt"

// memoryRules are the rows of the table about amounts of memory.
var memoryRules = []rule{
	{
		id: "memory-requests-limits-differ", field: "domain.resources.requests.memory", from: ":883",
		broken:  func(r *request) bool { return r.dedicated && r.differ(r.requests.Memory, r.limits.Memory) },
		message: func(r *request) string { return differ(r.requests.Memory, "limits.memory", r.limits.Memory) },
	},
	{
		id: "memory-requests-negative", field: "domain.resources.requests.memory", from: ":1130",
		broken:  func(r *request) bool { return negative(r.requests.Memory) },
		message: func(r *request) string { return isNegative(r.requests.Memory) },
	},
	{
		id: "memory-limits-negative", field: "domain.resources.limits.memory", from: ":1105",
		broken:  func(r *request) bool { return negative(r.limits.Memory) },
		message: func(r *request) string { return isNegative(r.limits.Memory) },
	},
	{
		id: "memory-guest-negative", field: "domain.memory.guest", level: never,
		from:    "recorded: KubeVirt accepts it and makes a Burstable pod, which never gets exclusive CPUs",
		broken:  func(r *request) bool { return r.dedicated && negative(r.memory.Guest) },
		message: func(r *request) string { return isNegative(r.memory.Guest) },
	},
	{
		id: "memory-guest-above-limits", field: "domain.memory.guest", level: risky,
		from: "KubeVirt accepts it, and the guest is killed once it uses what it was given",
		broken: func(r *request) bool {
			return r.dedicated && !r.cluster.Staged && r.guestAbove(r.limits.Memory)
		},
		message: func(r *request) string { return above(r.memory.Guest, "limits.memory", r.limits.Memory) },
	},
	{
		id: "memory-guest-above-requests", field: "domain.memory.guest", level: risky,
		from: "renderresources.go WithCPUPinning: the pod's memory limit is made equal to its request",
		broken: func(r *request) bool {
			return r.dedicated && !r.positive(r.limits.Memory) && r.guestAbove(r.requests.Memory)
		},
		message: func(r *request) string {
			return fmt.Sprintf("%s is more than requests.memory = %s, which becomes the limit too, and the guest is killed once it uses more; "+
				"raise the request or lower this", r.memory.Guest.Text, r.requests.Memory.Text)
		},
	},
	{
		id: "memory-guest-above-limits-staged", field: "domain.memory.guest", from: ":1028, under vmRolloutStrategy Stage",
		broken:  func(r *request) bool { return r.cluster.Staged && r.guestAbove(r.limits.Memory) },
		message: func(r *request) string { return above(r.memory.Guest, "limits.memory", r.limits.Memory) },
	},
	{
		id: "memory-requests-above-limits", field: "domain.resources.requests.memory", from: ":1116",
		broken: func(r *request) bool {
			return !r.dedicated && r.positive(r.limits.Memory) && r.requests.Memory != nil && r.requests.Memory.Cmp(r.limits.Memory.Quantity) > 0
		},
		message: func(r *request) string { return above(r.requests.Memory, "limits.memory", r.limits.Memory) },
	},
	{
		id: "memory-requests-too-small", field: "domain.resources.requests.memory", from: ":1140",
		broken: func(r *request) bool { return r.positive(r.requests.Memory) && r.requests.Memory.Count() < 1_000_000 },
		message: func(r *request) string {
			return r.requests.Memory.Text + " is less than 1M, too little for any guest; write an amount such as 2Gi"
		},
	},
	{
		id: "hugepages-page-size", field: "domain.memory.hugepages.pageSize",
		from: ":1058; 0 crashes KubeVirt's webhook, which takes a negative size for a good one",
		broken: func(r *request) bool {
			return r.memory.Hugepages != nil && (r.pageSize == 0 || r.pageSize < 0 && r.strictness != KubeVirt)
		},
		message: text("is not the size of a page; write a size that the node offers, for example 2Mi or 1Gi"),
	},
	{
		id: "hugepages-do-not-fit", field: "domain.memory.hugepages.pageSize", from: ":1078, :1089",
		broken: func(r *request) bool { return r.pageSize != 0 && r.paged() != nil && r.paged().Value()%r.pageSize != 0 },
		message: func(r *request) string {
			return fmt.Sprintf("memory of %s is not a whole number of pages of %s; make it a multiple", r.paged().Text, r.memory.Hugepages.PageSize)
		},
	},
	{
		id: "memory-overhead-overcommitted", field: "domain.resources.overcommitGuestOverhead", level: never,
		from:    "pkg/virt-controller/services/renderresources.go WithMemoryOverhead: the pod's memory request is less than its limit",
		broken:  func(r *request) bool { return r.dedicated && r.overcommit },
		message: text("the pod would not be Guaranteed, and only Guaranteed pods get exclusive CPUs; remove it"),
	},
	{
		id: "memory-hotplug-with-realtime-or-numa", field: "domain.memory.maxGuest", from: "pkg/liveupdate/memory/memory.go:57",
		broken: func(r *request) bool {
			return (r.kind == KindVM || r.kind == KindPool) && r.memory.MaxGuest != nil && (r.cpu.Realtime != nil || r.numaPassthrough())
		},
		message: text("memory cannot be plugged into a guest with realtime or guestMappingPassthrough; remove maxGuest"),
	},
}
