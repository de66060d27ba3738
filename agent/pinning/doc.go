// SPDX-License-Identifier: Apache-2.0

// Package pinning keeps the threads of dedicated virtual machines on the CPUs that the kubelet granted to their launcher
// pods.
//
// There is one worker for each running launcher pod of a VM that asked for dedicatedCpuPlacement. A worker looks at its
// guest again and again. Each look has four steps, in a file each:
//
//	observe  reads the grant, the VMI, libvirt, and the cpusets of the container's cgroup
//	plan     decides, by a pure function: where each thread belongs, what is off and why, which pins are missing
//	act      pins through libvirt and reads back
//	tell     Events on the pod and its VMI, the node's report, the log, metrics; and when to look again
//
// What one look leaves for the next is a phase with its facts (phase.go). What all workers know together is in package
// ledger: where every guest is, which VMs share CPUs, what the report shows. The scenarios in testdata show what the
// agent does about starts, stops, migrations, drift, new grants and failures, second by second.
//
// The configuration's pinning.mode says how much is done. Mode enforce pins. Mode repair leaves the first pins to
// KubeVirt and repairs those that are wrong or drift. Mode observe only tells.
//
// # What it promises
//
//   - Nothing is ever pinned outside the grant, and nothing at all without one. The grant is what the kubelet has
//     written, never a prediction.
//   - A valid placement is left alone, whoever made it. KubeVirt pins before the guest starts; where its pins are valid
//     this package only watches them. What a VM asks beyond its vCPUs is guessed only for a guest that nobody has pinned.
//     When one thread of a valid placement drifts, that thread is put back and the others do not move.
//   - A dedicated VM without exclusive CPUs gets an Event with the cause. Two VMs that may run on one CPU are told on
//     both of them and on the Node. Each owner reads the other VM's name only within his own namespace.
//   - Event Pinned names the grant, so it waits until no other container may run there (package exclusive), where that can be
//     seen. Condition Exclusive has the same of the node.
//   - What a guest's libvirt says counts only within the cpuset of the guest's own container, where the kernel keeps it. A
//     hostile guest can accuse nobody.
//   - One VM never delays another. Each has its own worker, connection, deadline and backoff, so a libvirt that hangs
//     costs its own VM only. A look that missed its deadline is followed by one with twice the time, up to maxDeadline.
//   - A guest that is being started or migrated here is left alone until libvirt is done: before, libvirt would hold each
//     call for half a minute. One that is migrated away, saved or dumped is watched and not pinned meanwhile. Pins that
//     libvirt took along from another node have not drifted.
//   - An ordinary start, stop or migration writes no Warning. From the moment that the pod is being deleted, or that its
//     guest has ended, nothing is told and nothing is retried fast.
//   - The agent has no state of its own. Killing it at any instant and starting it again ends in the same pins. One that
//     starts while the API server is away goes on watching the guests that the kubelet and libvirt show it.
//
// # Where a thread may run
//
// A thread runs where its affinity and the cpusets of its cgroups allow together. libvirt remembers a pin, while the
// kernel may have moved the thread since: a kubelet that writes a cpuset resets the affinity of its threads, and a CPU
// that goes offline puts its threads elsewhere. All of it is compared. A thread that the kernel keeps off its CPUs is
// drift as soon as it is seen, with the cause: a CPU that is offline, the container's cpuset, KubeVirt's housekeeping
// cgroup. What the kernel refuses is not tried at full rate.
//
// # Where the pins can be seen
//
// In libvirt, and in the node's NodeCPU beside the grant (Pins; at most placement.MaxText bytes a guest, and about ten
// bytes a granted CPU). They are not an annotation of the launcher pod, since that would take the right to patch any pod
// on every node. Who may read them is who may get nodecpus. The VM's owner has the Events of the pod, which name the pins
// too. Condition Drifted says in the same place what is wrong, or the last drift that was repaired. A guest for which
// either changes again and again is shown less and less often, down to once a minute: each change is a write at the API
// server.
//
// # When a worker looks
//
// When the controller is triggered (pods or grants changed), when libvirt has an event about a domain, and a verify period
// after the last pins. While looks find nothing, that period doubles, up to longestCalm. A VMI may ask for a period of its own
// (period.go). VMs with realtime are looked at after events only, and once an hour. The kernel tells nobody that a thread's
// affinity was changed behind libvirt's back (taskset, a rewritten cpuset), so the period bounds how long that lasts. libvirt
// has no event for a plugged vCPU either: a guest that was granted CPUs for more is looked at every plugPeriod. Somebody who
// moves a thread again and again is answered more and more slowly, up to maxGap (pace.go).
//
// Once a minute a look also asks libvirt how long each vCPU was ready to run and waited for its CPU (waits.go). That is
// what the loss of a CPU's time comes to for the guest. Those above the configuration's waitLimitPercent are in the report.
//
// A problem is told once it has lasted for its patience, and in an Event only when its words change. The log has it then
// too, and again at growing intervals (complaint.go). A cpuset that goes bad and good in turns is one problem, counted
// over a minute and not from the last good look.
//
// The package declares what it needs of a hypervisor (Hypervisor, Connection, Guest) and knows neither RPC nor XML;
// agent/libvirt is the one that speaks to libvirt.
package pinning
