// SPDX-License-Identifier: Apache-2.0

package story

import (
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

// Names of the nodes.
const (
	Big    = "big"    // 2 sockets x 16 cores x SMT2, with huge pages, VFs and a memory manager
	NUMA4  = "numa4"  // 4 NUMA nodes
	Small  = "small"  // 1 socket x 4 cores x SMT2: libvirt's test driver runs its guests
	Shared = "shared" // CPU manager policy none
	Local  = "local"  // this machine's own CPUs: QEMU runs its guests
)

// wholeCores is the kubelet's option with which only whole cores are granted.
var wholeCores = map[string]string{"full-pcpus-only": "true"}

// Machines are the nodes of the story. kvm runs the guest of node local with hardware acceleration.
func Machines(kvm bool) []testbed.Machine {
	static := func(reserved string) simnode.KubeletSettings {
		return simnode.KubeletSettings{
			CPUManagerPolicy:        "static",
			CPUManagerPolicyOptions: wholeCores,
			TopologyManagerPolicy:   "single-numa-node",
			ReservedSystemCPUs:      reserved,
		}
	}
	// What is reserved lies where best fit sends VMs of two CPUs to small, whose guests can be pinned: its
	// NUMA node has the fewest CPUs left.
	withMemory := static("0,32")
	withMemory.MemoryManagerPolicy = "Static"
	return []testbed.Machine{
		{Name: Big, Topology: cputopology.MustParse("2 sockets x 1 numa x 16 cores x 2 threads"), Kubelet: withMemory, Guests: guest.None{},
			HugePages: map[string]int64{hugePages: pagesPerNode}, Devices: virtualFunctions()},
		{Name: NUMA4, Topology: cputopology.MustParse("2 sockets x 2 numa x 4 cores x 2 threads"), Kubelet: static("15,31"), Guests: guest.None{}},
		{Name: Small, Topology: cputopology.MustParse("1 sockets x 1 numa x 4 cores x 2 threads"), Kubelet: static("0,4"), Guests: guest.TestDriver{}, GuestURI: "test:///default"},
		{Name: Shared, Topology: cputopology.MustParse("1 sockets x 1 numa x 8 cores x 2 threads"), Kubelet: simnode.KubeletSettings{SystemReservedCPU: "1"}, Guests: guest.None{}},
		// Half a CPU is reserved, which the kubelet rounds up to a CPU of its own choice. No options: the
		// machine may have any shape, and on two CPUs a VM of one vCPU has to fit. KubeVirt's pins are taken away, as a hook
		// sidecar can, so that the agent is seen to pin a real guest.
		{Name: Local, Kubelet: simnode.KubeletSettings{CPUManagerPolicy: "static", SystemReservedCPU: "500m"}, Guests: guest.QEMU{KVM: kvm}, Hook: testbed.NobodyPins},
	}
}
