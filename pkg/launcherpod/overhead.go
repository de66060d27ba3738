// SPDX-License-Identifier: Apache-2.0

package launcherpod

import "k8s.io/apimachinery/pkg/api/resource"

const mebi = int64(1) << 20

// overhead is the memory beside the guest's own (pkg/hypervisor/kvm/hypervisorbackend.go GetMemoryOverhead, commit d923fdb815cd).
// It is page tables for what is requested, the five programs of a launcher pod, buffers per vCPU, for IO and for graphics,
// and what some devices need. The release v1.9.0 counts 20Mi less, for QEMU.
func overhead(m *machine) resource.Quantity {
	total := (25 + 100 + 25 + 40 + 50) * mebi
	total += m.VCPUs()*8*mebi + 8*mebi
	requested := m.Spec.Domain.Resources.Requests.Memory
	if requested != nil && requested.Sign() > 0 {
		total += requested.Value() / 512
	}
	if !off(m.domain.Devices.AutoattachGraphicsDevice) {
		total += 32 * mebi
	}
	if m.Spec.Architecture == "arm64" {
		total += 128 * mebi
	}
	total += deviceOverhead(m) + probeOverhead(m)
	if m.fixed() {
		total += 100 * mebi
	}
	sum := *resource.NewQuantity(total, resource.BinarySI)
	added := m.domain.Memory.ReservedOverhead.AddedOverhead
	if added != nil {
		sum.Add(*added)
	}
	return sum
}

// deviceOverhead is what devices of the host, metrics on a disk and a TPM, which is a program of its own, need.
func deviceOverhead(m *machine) int64 {
	total := int64(0)
	if m.passesThrough() {
		total += 1024 * mebi
	}
	for _, v := range m.pod.Volumes {
		if v.DownwardMetrics != nil {
			total += mebi
			break
		}
	}
	tpm := m.domain.Devices.TPM
	if tpm != nil && !off(tpm.Enabled) {
		total += 53 * mebi
	}
	return total
}

// probeOverhead is what probes need that run a program in the guest (addProbeOverheads).
func probeOverhead(m *machine) int64 {
	probes := int64(0)
	for _, p := range []*probe{m.pod.LivenessProbe, m.pod.ReadinessProbe} {
		if p != nil && p.Exec != nil {
			probes++
		}
	}
	if probes == 0 {
		return 0
	}
	return (100 + 10*probes) * mebi
}
