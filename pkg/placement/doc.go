// SPDX-License-Identifier: Apache-2.0

// Package placement puts a guest's threads on the CPUs that the kubelet granted to its container:
// which CPU each vCPU runs on, where the emulator runs and where the IO threads run.
//
// It promises three things. No CPU is given to two vCPUs, nor to a vCPU and an isolated emulator or a
// dedicated IO thread. No CPU outside the granted set is ever named. The vCPUs of one guest core sit on
// hardware threads of one host core whenever the granted CPUs allow it, since the guest's own scheduler
// relies on that.
//
// Place follows the layout that KubeVirt's virt-launcher uses
// (pkg/virt-launcher/virtwrap/converter/vcpu/vcpu.go, commit d923fdb815cd), so that on a KubeVirt node
// the agent agrees with pins that are already there. It differs in two points, where KubeVirt's
// result is not what a dedicated VM was promised. Too few CPUs is an error instead of a silently shorter
// list. All IO threads of an isolated guest share the emulator's CPUs, where KubeVirt pins only the
// first one and leaves the others to its housekeeping cgroup.
//
// The order is part of the promise. NUMA nodes and host cores are taken by ascending id, and the granted
// threads of one core one after the other. That holds too where the guest believes each of its vCPUs to be a core of
// its own (threads=1). Two neighbours then share a core, but no core is shared with another VM's.
//
// A VMI's realtime mask says which vCPUs run with real-time priority, which KubeVirt's virt-handler sets. Where
// they run does not depend on it.
//
// Check judges a placement without asking who made it. The agent re-pins only what Check refuses, so two
// programs with different, equally valid placements never fight.
//
// Everything here is a pure function: the same arguments give the same result.
package placement
