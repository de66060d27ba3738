// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/vmi"
)

// GuestOf is the guest that KubeVirt makes of a VMI, with its IO threads numbered from 1 as KubeVirt does.
// The VMI is read as KubeVirt fills it in (vmi.VMI.Default) and is not changed.
func GuestOf(v *vmi.VMI) (Guest, error) {
	filled := *v
	filled.Default()
	vcpus := filled.VCPUs()
	ioThreads := filled.CountIOThreads()
	if vcpus > cpuset.MaxCPUs || ioThreads > cpuset.MaxCPUs {
		return Guest{}, fmt.Errorf("reading the guest of %s/%s: %d vCPUs and %d IO threads are more than any machine has CPUs (%d)",
			v.Namespace, v.Name, vcpus, ioThreads, cpuset.MaxCPUs)
	}
	cpu := filled.Spec.Domain.CPU
	pooled := filled.PooledIOThreads()
	g := Guest{
		VCPUs: int(vcpus), ThreadsPerCore: int(max(cpu.Threads, 1)),
		DedicatedIOThreads: pooled > 0, IsolateEmulator: cpu.IsolateEmulatorThread,
	}
	for id := range int(ioThreads) {
		g.IOThreads = append(g.IOThreads, id+1)
	}
	// vcpu.go:529: a second CPU for the emulator where that makes the total even.
	_, parity := filled.Annotations[vmi.EvenParityAnnotation]
	if parity && g.IsolateEmulator && (vcpus+pooled)%2 == 0 {
		g.EmulatorCPUs = 2
	}
	if cpu.NUMA != nil && cpu.NUMA.GuestMappingPassthrough != nil {
		numa, err := numaOf(&filled)
		if err != nil {
			return Guest{}, fmt.Errorf("reading the guest of %s/%s: %w", v.Namespace, v.Name, err)
		}
		g.NUMA = numa
	}
	return g, nil
}

// numaOf reads the memory that the guest's NUMA nodes share (vcpu.go, GetVirtualMemory and hugePagesInfo).
func numaOf(v *vmi.VMI) (*NUMA, error) {
	memory := v.Spec.Domain.Memory
	if memory.Hugepages == nil {
		return nil, fmt.Errorf("guestMappingPassthrough needs huge pages; set spec.domain.memory.hugepages.pageSize")
	}
	page, err := vmi.ParseQuantity(memory.Hugepages.PageSize)
	if err != nil {
		return nil, fmt.Errorf("spec.domain.memory.hugepages.pageSize: %w", err)
	}
	if page.Sign() <= 0 {
		return nil, fmt.Errorf("spec.domain.memory.hugepages.pageSize is %s; want a size such as 2Mi", page.Text)
	}
	n := &NUMA{PageSize: page.Count()}
	if memory.Guest != nil {
		n.Memory = memory.Guest.Count()
	}
	return n, nil
}
