// SPDX-License-Identifier: Apache-2.0

package launcherpod

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/vmi"
)

// computeResources is what container compute asks for, in KubeVirt's order: memory request, CPUs,
// memory of the guest or its huge pages, devices (template.go, renderresources.go).
func computeResources(m *machine) corev1.ResourceRequirements {
	asked := m.Spec.Domain.Resources
	r := corev1.ResourceRequirements{Requests: others(m.domain.Resources.Requests), Limits: others(m.domain.Resources.Limits)}
	addStorage(r)
	set(r.Requests, corev1.ResourceCPU, asked.Requests.CPU)
	set(r.Requests, corev1.ResourceMemory, asked.Requests.Memory)
	set(r.Limits, corev1.ResourceCPU, asked.Limits.CPU)
	set(r.Limits, corev1.ResourceMemory, asked.Limits.Memory)

	if _, ok := r.Requests[corev1.ResourceMemory]; !ok {
		set(r.Requests, corev1.ResourceMemory, asked.Limits.Memory)
	}
	if _, ok := r.Requests[corev1.ResourceMemory]; !ok {
		set(r.Requests, corev1.ResourceMemory, m.Spec.Domain.Memory.Guest)
	}
	if m.Dedicated() {
		dedicateCPUs(m, r)
	} else if _, ok := r.Requests[corev1.ResourceCPU]; !ok {
		// cpuAllocationRatio is 10 unless set: a tenth of a CPU for each vCPU and IO thread.
		r.Requests[corev1.ResourceCPU] = *resource.NewMilliQuantity((m.VCPUs()+m.ioThreads())*100, resource.DecimalSI)
	}
	pages := m.Spec.Domain.Memory.Hugepages
	if pages != nil {
		useHugepages(m, r, pages.PageSize)
	} else {
		addOverhead(m, r)
	}
	for device, count := range m.devices() {
		r.Limits[device] = *resource.NewQuantity(count, resource.DecimalSI)
		r.Requests[device] = *resource.NewQuantity(count, resource.DecimalSI)
	}
	return r
}

// others are the amounts of a list beside CPU and memory, which KubeVirt passes on.
func others(list corev1.ResourceList) corev1.ResourceList {
	rest := corev1.ResourceList{}
	for name, amount := range list {
		if name != corev1.ResourceCPU && name != corev1.ResourceMemory {
			rest[name] = amount
		}
	}
	return rest
}

// addStorage adds what the launcher writes to the disk of the node (WithEphemeralStorageRequest, renderresources.go).
func addStorage(r corev1.ResourceRequirements) {
	own := resource.MustParse("50M")
	requested := r.Requests[scratch]
	requested.Add(own)
	r.Requests[scratch] = requested
	limit, ok := r.Limits[scratch]
	if ok {
		limit.Add(own)
		r.Limits[scratch] = limit
	}
}

// set copies an amount that counts: KubeVirt takes zero for not given, and drops negative ones.
func set(list corev1.ResourceList, name corev1.ResourceName, amount *vmi.Quantity) {
	if amount != nil && amount.Sign() > 0 {
		list[name] = amount.Quantity
	}
}

// dedicateCPUs asks for one whole CPU per vCPU and IO thread, and for the emulator's own
// (WithCPUPinning, renderresources.go:319).
func dedicateCPUs(m *machine, r corev1.ResourceRequirements) {
	cpus := m.VCPUs() + m.ioThreads()
	if m.Spec.Domain.CPU.IsolateEmulatorThread {
		cpus += emulatorCPUs(m, cpus)
	}
	amount := *resource.NewQuantity(cpus, resource.BinarySI)
	r.Requests[corev1.ResourceCPU] = amount
	r.Limits[corev1.ResourceCPU] = amount
	if memory, ok := r.Requests[corev1.ResourceMemory]; ok {
		r.Limits[corev1.ResourceMemory] = memory
	}
}

// emulatorCPUs is 2 where a second one makes the total even and the annotation asks for that. With
// the supplemental pool KubeVirt counts the IO threads a second time here, so that it makes the number without
// them even. That is so since v1.6, and Render errs as KubeVirt does.
func emulatorCPUs(m *machine, cpus int64) int64 {
	if _, ok := m.Annotations[vmi.EvenParityAnnotation]; !ok {
		return 1
	}
	if m.supplementalPool() {
		cpus += m.ioThreads()
	}
	if cpus%2 == 0 {
		return 2
	}
	return 1
}

// useHugepages asks for the guest's memory as huge pages. Ordinary memory is left for the overhead
// and for what was given beyond the guest's size (WithHugePages, renderresources.go).
func useHugepages(m *machine, r corev1.ResourceRequirements, pageSize string) {
	requested := r.Requests[corev1.ResourceMemory]
	pages := requested.DeepCopy()
	guest := m.Spec.Domain.Memory.Guest
	if guest != nil && guest.Cmp(pages) < 0 {
		pages = guest.DeepCopy()
	}
	name := corev1.ResourceName(corev1.ResourceHugePagesPrefix + pageSize)
	r.Requests[name] = pages
	r.Limits[name] = pages
	r.Requests[corev1.ResourceMemory] = beyondGuest(m, requested)
	limit, ok := r.Limits[corev1.ResourceMemory]
	if ok {
		r.Limits[corev1.ResourceMemory] = beyondGuest(m, limit)
	}
}

// beyondGuest is the overhead, and what an amount has more than the guest.
func beyondGuest(m *machine, amount resource.Quantity) resource.Quantity {
	rest := overhead(m)
	guest := m.Spec.Domain.Memory.Guest
	if guest != nil && amount.Cmp(guest.Quantity) > 0 {
		rest.Add(amount)
		rest.Sub(guest.Quantity)
	}
	return rest
}

// addOverhead adds what the launcher needs beside the guest: always to a limit, to the request
// unless the user takes the risk, which costs the pod its Guaranteed class.
func addOverhead(m *machine, r corev1.ResourceRequirements) {
	extra := overhead(m)
	lists := []corev1.ResourceList{r.Limits}
	if !m.Spec.Domain.Resources.OvercommitGuestOverhead {
		lists = append(lists, r.Requests)
		if _, ok := r.Requests[corev1.ResourceMemory]; !ok {
			r.Requests[corev1.ResourceMemory] = *resource.NewQuantity(0, resource.BinarySI)
		}
	}
	for _, list := range lists {
		if memory, ok := list[corev1.ResourceMemory]; ok {
			sum := memory.DeepCopy()
			sum.Add(extra)
			list[corev1.ResourceMemory] = sum
		}
	}
}
