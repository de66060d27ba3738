// Package libvirt speaks to the libvirt in a launcher pod, for agent/pinning.
//
// The agent runs in a pod of its own and shares no mount or process namespace with the launcher; what
// they share is the kubelet's pods directory. The launcher's emptyDir libvirt-runtime is in there, with
// the socket: virtqemud-sock since KubeVirt v0.59, libvirt-sock before and for a plain libvirtd. No
// hostPID and no privilege over other processes is needed: libvirt itself sets the affinity of its
// threads. What is needed is root with CAP_DAC_OVERRIDE, since a session-mode libvirt makes its socket
// with mode 0700 for its own user.
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
//   - Every call runs under a deadline. go-libvirt has none, so the connection is closed when time is up.
//
// What libvirt 9.0 cannot do: a live emulatorpin moves QEMU's main thread and what that starts later,
// where libvirt has no cgroup of its own, as in a launcher pod. QEMU's helper threads that run already (RCU,
// monitor) stay on the container's CPUs. A pin that is in the XML when the guest starts has them all.
//
// Domain XML is read with types of our own that hold only what pinning needs.
package libvirt
