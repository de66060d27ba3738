// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"cmp"
	"math"
	"math/bits"
)

// Hotplug ceilings that KubeVirt fills in (pkg/defaults/defaults.go:92, commit d923fdb815cd).
const (
	maxHotplugRatio = 4
	maxHotplugVCPUs = 512
)

const (
	architectureAMD = "amd64"
	architectureARM = "arm64"
)

// VCPUs is the number of vCPUs by the guest's topology: the product of sockets, cores and threads, as far as they
// are given, and 0 when none is (KubeVirt pkg/util/hardware/hw_utils.go GetNumberOfVCPUs). It saturates at the
// largest int64; KubeVirt's own product wraps around at 32 bits.
func (v *VMI) VCPUs() int64 {
	cpu := v.Spec.Domain.CPU
	if cpu.Sockets|cpu.Cores|cpu.Threads == 0 {
		return 0
	}
	product := uint64(1)
	for _, n := range []uint32{cpu.Sockets, cpu.Cores, cpu.Threads} {
		high, low := bits.Mul64(product, uint64(max(n, 1)))
		if high != 0 || low > math.MaxInt64 {
			return math.MaxInt64
		}
		product = low
	}
	return int64(product)
}

// vcpusOfKubeVirt is VCPUs in KubeVirt's own arithmetic, whose product has 32 bits.
func (v *VMI) vcpusOfKubeVirt() int64 {
	cpu := v.Spec.Domain.CPU
	product := cpu.Cores
	for _, n := range []uint32{cpu.Sockets, cpu.Threads} {
		switch {
		case product == 0:
			product = n
		case n != 0:
			product *= n
		}
	}
	return int64(product)
}

// Default fills in what KubeVirt fills in before it validates (pkg/defaults/defaults.go
// SetDefaultVirtualMachineInstanceSpec), with its cluster settings at their defaults on amd64. It leaves memory.maxGuest
// out, because nothing here depends on it. Sizes beyond what a machine can have wrap around, as they do there.
func (v *VMI) Default() {
	domain := &v.Spec.Domain
	requests := &domain.Resources.Requests
	limits := &domain.Resources.Limits
	if given(limits.CPU) && !given(requests.CPU) {
		requests.CPU = limits.CPU
	}
	v.defaultGuestMemory()
	if v.VCPUs() == 0 {
		domain.CPU.Sockets = 1
		domain.CPU.Cores = 1
		domain.CPU.Threads = 1
		amount := cmp.Or(limits.CPU, requests.CPU) // the limit where there is one, 0 too
		if amount != nil {
			domain.CPU.Sockets = uint32(amount.Value()) // as KubeVirt's own arithmetic has it
		}
	}
	if v.Spec.Architecture == "" {
		v.Spec.Architecture = architectureAMD
	}
	v.defaultMaxSockets()
}

// defaultGuestMemory is defaults.go:239.
func (v *VMI) defaultGuestMemory() {
	domain := &v.Spec.Domain
	if domain.Memory.Guest != nil {
		return
	}
	amount := firstGiven(domain.Resources.Requests.Memory, domain.Resources.Limits.Memory)
	if amount == nil && domain.Memory.Hugepages != nil {
		if page, err := ParseQuantity(domain.Memory.Hugepages.PageSize); err == nil {
			amount = &page
		}
	}
	domain.Memory.Guest = amount
}

// defaultMaxSockets is defaults.go:92: as many sockets as may be plugged in later.
func (v *VMI) defaultMaxSockets() {
	cpu := &v.Spec.Domain.CPU
	if v.Spec.Architecture == architectureARM || cpu.MaxSockets != 0 || cpu.Sockets == 0 {
		return
	}
	perSocket := uint64(max(cpu.Cores, 1)) * uint64(max(cpu.Threads, 1))
	sockets := min(uint64(cpu.Sockets)*maxHotplugRatio, maxHotplugVCPUs/perSocket)
	cpu.MaxSockets = uint32(max(sockets, uint64(cpu.Sockets)))
}

func firstGiven(amounts ...*Quantity) *Quantity {
	for _, amount := range amounts {
		if given(amount) {
			return amount
		}
	}
	return nil
}
