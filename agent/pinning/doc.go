// Package pinning keeps the threads of dedicated virtual machines on the CPUs that the kubelet granted
// to their launcher pods.
//
// For each running launcher pod of a VM that asked dedicatedCpuPlacement there is one worker. It reads
// what the kubelet granted to the compute container, asks the pod's libvirt how the guest looks and
// where its threads may run now, and compares that with pkg/placement. What is missing is pinned through
// libvirt, read back and told as an Event on the pod.
//
// What it promises:
//
//   - Nothing is ever pinned outside the grant, and nothing at all without one. The grant is the kubelet's
//     word, never a prediction.
//   - A valid placement is left alone, whoever made it. KubeVirt pins before the guest starts; where
//     its pins are valid this package only watches them. When one thread of a valid placement drifts,
//     that thread is put back; the others do not move.
//   - A dedicated VM without exclusive CPUs is said out loud, with the cause.
//   - One VM never delays another. Each has its own worker, connection, deadline and backoff, so a
//     libvirt that hangs costs its own VM only.
//   - No state of its own. What is pinned is what libvirt and the threads say, so killing the agent at any
//     instant and starting it again ends in the same pins.
//
// Workers look again when the controller is triggered (pods or grants changed), when libvirt tells that
// something about a domain changed, and, as a net under both, every verify period.
//
// Configuration and fact are two things: libvirt remembers a pin, while the kernel may have moved the
// thread since (the kubelet rewriting a cpuset resets the affinity of its threads). Both are compared,
// and both must be right.
//
// The package declares what it needs of a hypervisor (Hypervisor, Connection, Guest) and knows neither
// RPC nor XML; agent/libvirt is the one that speaks to libvirt.
package pinning
