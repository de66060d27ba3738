// SPDX-License-Identifier: Apache-2.0

// Package libvirt speaks to the libvirt in a launcher pod, for agent/pinning.
//
// The agent runs in a pod of its own and shares no mount or process namespace with the launcher. They share
// the kubelet's pods directory. The launcher's emptyDir libvirt-runtime is in there, with
// the socket: virtqemud-sock since KubeVirt v0.59, libvirt-sock before and for a plain libvirtd. No
// hostPID and no privilege over other processes is needed: libvirt itself sets the affinity of its
// threads. What is needed is root with CAP_DAC_OVERRIDE, since a session-mode libvirt makes its socket
// with mode 0700 for its own user; TestCapabilities shows that nothing less will do and nothing more is
// needed.
//
// The configuration's pinning.libvirtFrom has two other ways, which need more privileges:
//
//   - process: the socket in the file system of one of the launcher's processes, <procDir>/<pid>/root, for
//     launchers whose libvirt-runtime is no emptyDir. Processes are known by the pod's UID in their cgroup.
//     The agent needs to see the host's processes (hostPID, or the host's /proc mounted) and CAP_SYS_PTRACE
//     besides CAP_DAC_OVERRIDE.
//   - host: one libvirtd or virtqemud of the host for all guests, which are known by their domain's name only
//     (pinning.domainName). The agent needs the host's /run/libvirt mounted, and CAP_DAC_OVERRIDE or the
//     group that may write to the socket.
//
// A guest that breaks out is in its launcher pod first, and a tenant may make any pod. So nothing that is in there is
// trusted:
//
//   - The socket is opened with openat2 beneath the one emptyDir. No symbolic link is followed and no other mount is
//     entered: a volume that does not answer would keep the agent's thread for ever, where not even SIGKILL reaches
//     it. Connected to is the file that was opened, whatever has its name by then. The opening has a deadline too.
//   - In mode process, paths are followed step by step within the process's root, into local file systems only. The
//     host's own libvirt is never reached. A process with the host's mounts or root, such as a container's monitor, is
//     left out, and so is a socket of the host that is mounted in the pod. There and in mode host a guest is known by
//     its domain's name only.
//   - An answer is checked before go-libvirt sees it. go-libvirt believes each length and count before it has read what
//     follows, and twelve bytes would make it allocate gigabytes. It must be the answer to the one call that waits, no
//     larger than that call's answers are, and each length in it no greater than the rest (answers.go).
//   - Memory is bounded for each guest and for the node (budget.go). XML has at most 256 KiB. How many threads are read
//     of a guest depends on the CPUs granted to it, and these are nobody else's. Answers above 32 KiB and the parsing
//     of XML share a budget of the node, which no guest keeps for longer than a second.
//   - Events carry no data that is used. Any event only means "look again". Many are read slowly.
//   - Every call runs under a deadline. go-libvirt has none, so the connection is closed when time is up. A call
//     may wait in libvirt for another on the same domain, as DomainGetIothreadInfo does during a migration. It then
//     delays the one worker of that VM only. The deadline grows beyond libvirt's own; package pinning does that.
//
// A live emulatorpin of libvirt 9.0 does not move all threads where libvirt has no cgroup of its own, as in a launcher
// pod. It moves QEMU's main thread and what that starts later. QEMU's helper threads that run already (RCU, monitor)
// stay on the container's CPUs. A pin that is in the XML when the guest starts moves them all.
//
// libvirt does not say where the emulator's threads really run. DomainGetEmulatorPinInfo answers with the configuration,
// not with what the kernel says, so a taskset of QEMU's main thread alone is not seen as drift. To see it, the agent
// would need the host's processes, and the shipped one has no hostPID. Such a thread stays within the container's
// cpuset, which is the grant. It takes time from its own VM's vCPUs, never from another's.
//
// Domain XML is read with types of our own that hold only what pinning needs.
package libvirt
