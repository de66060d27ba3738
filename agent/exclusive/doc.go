// SPDX-License-Identifier: Apache-2.0

// Package exclusive finds out who else may run on the CPUs that the kubelet granted to dedicated VMs, and since when
// nobody may.
//
// A grant is a promise that the kubelet keeps late, and only towards its own containers. When it admits a VM, it writes
// the cpuset of the new container. Those of the shared pool keep the VM's CPUs until the kubelet next reconciles: 10 s
// later by default, and longer where the runtime fails to update a container. A cpuset that something else rewrites is
// never put right. Services of the host and containers of other runtimes are not confined at all. The kernel knows
// all of that, in cpuset.cpus.effective of each cgroup that has processes.
//
// # The steps
//
//	judge.go    pure: which cgroups are whose, and which of them may use the CPUs of which VM
//	history.go  pure: what that comes to over time, for each VM
//	losses.go   pure: where the time of a VM's CPUs went that the VM did not get, and which of its memory is far from them
//	interrupts.go  pure: which devices interrupt the CPUs of a VM with realtime
//	watcher.go  when to look; the only part with effects
//	condition.go, words.go  how it is told
//
// Package cgroup reads the tree; package pinning writes the events of each VM.
//
// # What counts
//
//   - Containers of pods that the API server lists: those of the shared pool, those with CPUs of their own, and the other
//     containers of the VM's own pod. These are told for the VM, once they have stayed for longer than the kubelet
//     takes to reconcile.
//   - Everything outside the kubelet's pods: services, sessions, containers of other runtimes. By default these may run
//     everywhere, so they are told once, in condition Exclusive of the node, and in no event.
//   - Not the sandboxes of pods and CRI-O's monitors, which no kubelet confines and which do not compute. They are known
//     by not being in the status of their pod. A container that has just begun is not in there either; the kubelet made it
//     with the right cpuset.
//   - Not the root cgroup: kernel threads are there.
//
// What this package sees is cpusets. A service that keeps off the CPUs by its affinity alone (CPUAffinity=, isolcpus)
// may still run there as far as its cgroup says.
//
// # Who did run there
//
// Who may run is not who does. Once a minute the time that the CPUs of a VM were busy is compared with what its container
// has used. The time of interrupts, of a hypervisor below and of the VM's own quota is read too. The VM gets an event for
// what is lost three minutes in a row, and a histogram has all of it. This is for cgroup v2 only.
//
// # Interrupts
//
// An interrupt is short, and a VM with realtime feels each. For such VMs the devices are told whose interrupts go to their
// CPUs. Others learn of interrupts by the time that these take. An interrupt counts where it goes now, and irqbalance moves
// it. So the words stay for an hour, unless there are none any more.
//
// # What it costs
//
// A look reads each cgroup once: when grants change, and once a minute while there is a dedicated VM. While others may
// still run on a VM's CPUs, one of them is read again each second, and nothing else, until it is gone. BenchmarkLook has
// the figures.
package exclusive
