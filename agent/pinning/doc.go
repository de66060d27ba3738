// Package pinning keeps the threads of dedicated virtual machines on the CPUs that the kubelet granted
// to their launcher pods.
//
// For each running launcher pod of a VM that asked dedicatedCpuPlacement there is one worker. It compares
// four things: what the kubelet granted to the compute container, the cpuset of the container's cgroup (where it
// can be seen), where libvirt is told to keep the guest's threads, and where the kernel lets them run. What
// pkg/placement makes of the grant, the guest and its VMI is where they should be. What is missing is pinned
// through libvirt, read back and told as an Event on the pod; what is wrong is told on the VMI too.
//
// How much is done is the configuration's pinning.mode: enforce pins; repair leaves the first pins to
// KubeVirt and mends those that are wrong or drift; observe only tells.
//
// What it promises:
//
//   - Nothing is ever pinned outside the grant, and nothing at all without one. The grant is the kubelet's
//     word, never a prediction.
//   - A valid placement is left alone, whoever made it. KubeVirt pins before the guest starts; where
//     its pins are valid this package only watches them. When one thread of a valid placement drifts,
//     that thread is put back; the others do not move.
//   - A dedicated VM without exclusive CPUs is said out loud, with the cause. So are two VMs on one CPU,
//     whatever the cause, on both of them and on the Node.
//   - One VM never delays another. Each has its own worker, connection, deadline and backoff, so a
//     libvirt that hangs costs its own VM only. The deadline is for one look; after one that was missed the next is
//     given twice the time, up to maxDeadline, so that a libvirt on a slow host gets there too.
//   - A guest that is being started or migrated here is left alone until libvirt tells that this is over: before, libvirt
//     would hold each call for half a minute, and have nothing to say. One that is migrated away, saved or dumped is
//     watched and not pinned meanwhile. Pins that libvirt took along from another node have not drifted.
//   - No state of its own. What is pinned is what libvirt and the threads say, so killing the agent at any
//     instant and starting it again ends in the same pins.
//
// Where the pins are can be seen without the agent's help in libvirt, and in the node's NodeCPU, beside the
// grant (Pins; at most placement.MaxText bytes a guest, and about ten bytes a granted CPU). It is not an annotation
// of the launcher pod: that would take the right to patch pods, any pod's image included, on every node. Who may
// read it is who may get nodecpus; the VM's owner, who may not, has the Events of the pod, which name the pins too.
// Condition Drifted says in the same place what is not as it should be, or the last drift that was repaired. A guest
// for which either changes again and again is shown less and less often, down to once a minute: each change is a
// write at the API server.
//
// Workers look again when the controller is triggered (pods or grants changed), when libvirt tells that
// something about a domain changed, and, as a net under both, every verify period. The kernel tells nobody that a
// thread's affinity was changed behind libvirt's back (taskset, a rewritten cpuset), so the period bounds how long
// that lasts. Nor does libvirt tell that a vCPU was plugged: a guest that has been granted CPUs for more is looked at every
// plugPeriod. Somebody who moves a thread again and again is answered more and more slowly, up to maxGap.
//
// Configuration and fact are two things: libvirt remembers a pin, while the kernel may have moved the
// thread since (the kubelet rewriting a cpuset resets the affinity of its threads). Both are compared,
// and both must be right.
//
// The package declares what it needs of a hypervisor (Hypervisor, Connection, Guest) and knows neither
// RPC nor XML; agent/libvirt is the one that speaks to libvirt.
package pinning
