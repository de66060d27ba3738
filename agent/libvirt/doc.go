// Package libvirt speaks to the libvirt in a launcher pod, for agent/pinning.
//
// The agent runs in a pod of its own and shares no mount or process namespace with the launcher; what
// they share is the kubelet's pods directory. The launcher's emptyDir libvirt-runtime is in there, with
// the socket: virtqemud-sock since KubeVirt v0.59, libvirt-sock before and for a plain libvirtd. No
// hostPID and no privilege over other processes is needed: libvirt itself sets the affinity of its
// threads. What is needed is root with CAP_DAC_OVERRIDE, since a session-mode libvirt makes its socket
// with mode 0700 for its own user; TestCapabilities shows that nothing less will do and nothing more is
// needed.
//
// There are two other ways, by the configuration's pinning.libvirtFrom, each at its price:
//
//   - process: the socket in the file system of one of the launcher's processes, <procDir>/<pid>/root, for
//     launchers whose libvirt-runtime is no emptyDir. Processes are known by the pod's UID in their cgroup.
//     The agent needs to see the host's processes (hostPID, or the host's /proc mounted) and CAP_SYS_PTRACE
//     besides CAP_DAC_OVERRIDE.
//   - host: one libvirtd or virtqemud of the host for all guests, which are known by their domain's name only
//     (pinning.domainName). The agent needs the host's /run/libvirt mounted, and CAP_DAC_OVERRIDE or the
//     group that may write to the socket.
//
// A launcher pod is where a guest breaks out to first, so nothing that it answers is trusted:
//
//   - The socket is looked up with openat2 below the pod's directory, and the socket that was found is
//     the one connected to. A symbolic link out of the pod cannot lead the agent, which is root on the
//     node, to the socket of something else. (The way also has no limit of 107 bytes, which the path of
//     a pod's volume exceeds.)
//   - Frames are checked before go-libvirt sees them: it trusts lengths and counts, and would make the
//     agent allocate or panic on bad ones.
//   - Events carry no data that is used. Any event only means "look again".
//   - Every call runs under a deadline. go-libvirt has none, so the connection is closed when time is up. A call
//     that waits in libvirt for another on the same domain, as DomainGetIothreadInfo may during a migration, ends so
//     too; what else it holds up is the one worker of that VM. The deadline grows beyond libvirt's own: package
//     pinning has it.
//
// What libvirt 9.0 cannot do: a live emulatorpin moves QEMU's main thread and what that starts later,
// where libvirt has no cgroup of its own, as in a launcher pod. QEMU's helper threads that run already (RCU,
// monitor) stay on the container's CPUs. A pin that is in the XML when the guest starts has them all.
//
// What libvirt cannot tell: where the emulator's threads really run. DomainGetEmulatorPinInfo answers with the
// configuration, not with what the kernel says, so a taskset of QEMU's main thread alone is no drift that is seen here.
// To see it the agent would have to see the host's processes, which the shipped one does not (no hostPID). What such
// a thread can do is bounded: the container's cpuset, which is the grant, holds for it too, so it takes time from
// its own VM's vCPUs, never from another's.
//
// Domain XML is read with types of our own that hold only what pinning needs.
package libvirt
