// SPDX-License-Identifier: Apache-2.0

package vmi

import "math"

// PooledIOThreads is the number of IO threads that have a CPU of their own: those of policy
// supplementalPool, else 0 (KubeVirt pkg/virt-launcher/virtwrap/converter/iothreads/iothreads.go,
// SupplementalPoolThreadCount). The launcher pod asks for CPUs for them.
func (v *VMI) PooledIOThreads() int64 {
	domain := v.Spec.Domain
	if domain.IOThreadsPolicy == nil || *domain.IOThreadsPolicy != SupplementalPool ||
		domain.IOThreads == nil || domain.IOThreads.SupplementalPoolThreadCount == nil {
		return 0
	}
	return int64(*domain.IOThreads.SupplementalPoolThreadCount)
}

// CountIOThreads is the number of IO threads that KubeVirt gives the guest, which it numbers from 1
// (iothreads.go, GetIOThreadsCountType). Without a pool, each disk that asks for its own thread has one. All other disks
// together have as many as there are disks, within a limit. Call Default first: the limit of policy
// auto is twice the CPUs in resources.
func (v *VMI) CountIOThreads() int64 {
	pooled := v.PooledIOThreads()
	if pooled > 0 {
		return pooled
	}
	domain := v.Spec.Domain
	var own, shared int64
	for _, disk := range domain.Devices.Disks {
		if disk.DedicatedIOThread {
			own++
		} else {
			shared++
		}
	}
	if domain.IOThreadsPolicy == nil && own == 0 {
		return 0
	}
	limit := v.ioThreadLimit()
	if own+shared > limit {
		shared = max(limit-own, 1)
	}
	return own + shared
}

// ioThreadLimit is the number of IO threads beyond which disks share one.
func (v *VMI) ioThreadLimit() int64 {
	domain := v.Spec.Domain
	switch policy := domain.IOThreadsPolicy; {
	case policy != nil && *policy == SupplementalPool:
		return 0
	case policy == nil, *policy != AutoIOThreads, v.Dedicated() && domain.CPU.IsolateEmulatorThread:
		return 1
	case domain.Resources.Requests.CPU != nil:
		return doubled(domain.Resources.Requests.CPU.Count())
	case domain.Resources.Limits.CPU != nil:
		return doubled(domain.Resources.Limits.CPU.Count())
	default:
		return 2
	}
}

// PodCPUs is the number of CPUs that the launcher pod of a dedicated VM asks for its compute container
// (pkg/virt-controller/services/renderresources.go WithCPUPinning, template.go:1643). It may be called before Default.
func (v *VMI) PodCPUs() int64 {
	domain := v.Spec.Domain
	vcpus := v.VCPUs()
	amount := firstGiven(domain.Resources.Limits.CPU, domain.Resources.Requests.CPU)
	if vcpus == 0 && amount != nil {
		vcpus = amount.Count()
	}
	var pool int64 // KubeVirt does not look at the policy here
	if domain.IOThreads.counted() {
		pool = int64(*domain.IOThreads.SupplementalPoolThreadCount)
	}
	cpus := min(max(vcpus, 1), math.MaxInt32) + pool
	if !domain.CPU.IsolateEmulatorThread {
		return cpus
	}
	counted := cpus
	if v.PooledIOThreads() > 0 {
		counted += pool // which KubeVirt counts a second time
	}
	_, parity := v.Annotations[EvenParityAnnotation]
	if parity && counted%2 == 0 {
		return cpus + 2
	}
	return cpus + 1
}

func doubled(n int64) int64 { return 2 * min(n, math.MaxInt64/2) }
