// SPDX-License-Identifier: Apache-2.0

package libvirt

import "corepin.dev/corepin/pkg/cpuset"

// mapLength is the length in bytes of the CPU maps that are asked for: one bit for each possible CPU.
const mapLength = cpuset.MaxCPUs / 8

// toMap gives CPUs as libvirt's CPU map: the lowest CPU is the lowest bit of the first byte. The map is as short as
// possible, since some drivers refuse one that goes beyond the host's CPUs.
func toMap(cpus cpuset.Set) []byte {
	var m []byte
	for id := range cpus.All() {
		for len(m) <= id/8 {
			m = append(m, 0)
		}
		m[id/8] |= 1 << (id % 8)
	}
	return m
}

// fromMap reads a CPU map of any length; CPUs beyond cpuset.MaxCPUs are left out.
func fromMap(m []byte) cpuset.Set {
	var cpus cpuset.Set
	for i, b := range m[:min(len(m), mapLength)] {
		for bit := range 8 {
			if b&(1<<bit) != 0 {
				cpus.Add(8*i + bit)
			}
		}
	}
	return cpus
}
