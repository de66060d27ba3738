package launcherpod

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/vmi"
)

const mebi = int64(1) << 20

// computeResources is what container compute asks for, in KubeVirt's order: memory request, CPUs,
// memory of the guest or its huge pages, devices (template.go, renderresources.go).
func computeResources(m *machine) corev1.ResourceRequirements {
	asked := m.Spec.Domain.Resources
	r := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("50M")},
		Limits:   corev1.ResourceList{},
	}
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
		// cpuAllocationRatio is 10 unless set: a tenth of a CPU for each vCPU.
		r.Requests[corev1.ResourceCPU] = *resource.NewMilliQuantity(m.VCPUs()*100, resource.DecimalSI)
	}
	pages := m.Spec.Domain.Memory.Hugepages
	if pages != nil {
		useHugepages(m, r, pages.PageSize)
	} else {
		addOverhead(m, r)
	}
	for _, device := range []corev1.ResourceName{"devices.kubevirt.io/kvm", "devices.kubevirt.io/tun", "devices.kubevirt.io/vhost-net"} {
		r.Limits[device] = *resource.NewQuantity(1, resource.DecimalSI)
		r.Requests[device] = *resource.NewQuantity(1, resource.DecimalSI)
	}
	return r
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

// useHugepages asks for the guest's memory as huge pages; ordinary memory is left for the overhead
// and for what was requested beyond the guest's size.
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

	rest := requested.DeepCopy()
	rest.Sub(pages)
	rest.Add(overhead(m))
	r.Requests[corev1.ResourceMemory] = rest
	if _, ok := r.Limits[corev1.ResourceMemory]; ok {
		r.Limits[corev1.ResourceMemory] = rest
	}
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

// overhead is the memory beside the guest's own (pkg/hypervisor/kvm/hypervisorbackend.go:69): page
// tables for what is requested, the five programs of a launcher pod, buffers per vCPU, for IO and
// for graphics.
func overhead(m *machine) resource.Quantity {
	total := (25 + 100 + 25 + 40 + 50) * mebi
	total += m.VCPUs()*8*mebi + 8*mebi
	requested := m.Spec.Domain.Resources.Requests.Memory
	if requested != nil && requested.Sign() > 0 {
		total += requested.Value() / 512
	}
	graphics := m.domain.Devices.AutoattachGraphicsDevice
	if graphics == nil || *graphics {
		total += 32 * mebi
	}
	if m.Spec.Architecture == "arm64" {
		total += 128 * mebi
	}
	if m.fixed() {
		total += 100 * mebi
	}
	return *resource.NewQuantity(total, resource.BinarySI)
}
