// SPDX-License-Identifier: Apache-2.0

package pinning

import "time"

// reason says why a look at a guest did not end with valid pins. It is a label of a metric, so the set is closed.
type reason string

const (
	reasonNoGrant      reason = "no_grant"     // the kubelet gave the compute container no exclusive CPUs
	reasonUnreachable  reason = "unreachable"  // nothing answers at the socket
	reasonTimeout      reason = "timeout"      // libvirt did not answer within the deadline
	reasonUnreadable   reason = "unreadable"   // the guest's description is not understood
	reasonPlacement    reason = "placement"    // the guest does not fit on the granted CPUs
	reasonLibvirt      reason = "libvirt"      // libvirt answered with an error
	reasonNotVerified  reason = "unverified"   // libvirt took the pins, and yet the threads are elsewhere
	reasonCPUSet       reason = "cpuset"       // the container's cpuset is not what the kubelet granted
	reasonHousekeeping reason = "housekeeping" // a vCPU is confined by KubeVirt's housekeeping cgroup
	reasonUnpinned     reason = "unpinned"     // nobody has pinned the guest, and the first pin is not the agent's
	reasonNotOwned     reason = "not_owned"    // no VMI owns the pod, and its namespace is not configured
	reasonTopology     reason = "topology"     // CPUs are granted that are not online, as far as is known
)

// reasons are all of them.
var reasons = []reason{
	reasonNoGrant, reasonUnreachable, reasonTimeout, reasonUnreadable, reasonPlacement, reasonLibvirt, reasonNotVerified,
	reasonCPUSet, reasonHousekeeping, reasonUnpinned, reasonNotOwned, reasonTopology,
}

// problem is why a look at a guest did not end with valid pins, in words for the operator.
type problem struct {
	reason reason
	err    error
	// step is what the operator can do; "" for the reason's own.
	step string
}

func (p *problem) Error() string { return p.err.Error() }

// ofConnection reports whether a new connection to libvirt may help.
func (p *problem) ofConnection() bool {
	return p.reason == reasonUnreachable || p.reason == reasonTimeout || p.reason == reasonLibvirt
}

// patience is how many deadlines the problem must last before it is told. Many problems go away by themselves, while a
// launcher pod starts or ends or the agent has not read the kubelet's newest grants.
func (p *problem) patience() time.Duration {
	switch p.reason {
	case reasonPlacement, reasonNotVerified, reasonUnreadable, reasonHousekeeping:
		return 0
	case reasonCPUSet:
		return 3 // the kubelet compares cpusets every ten seconds (pkg/kubelet/cm/cpumanager, reconcilePeriod)
	case reasonTopology:
		return 3 // the agent looks every ten seconds which CPUs are online
	case reasonUnreachable:
		return 6 // the libvirt of a launcher pod comes seconds after the container, and goes seconds before it
	}
	return 1
}

// remembered is for how many deadlines a problem that went away counts as the same when it comes back. Two programs that
// write a cpuset in turns would never be told otherwise, since each good look would begin a new count.
func (p *problem) remembered() time.Duration {
	if p.reason == reasonCPUSet {
		return 12
	}
	return 0
}

// nextStep is what the operator can do about it.
func (p *problem) nextStep() string {
	if p.step != "" {
		return p.step
	}
	switch p.reason {
	case reasonNoGrant:
		return "the VM runs on CPUs that others use too; remove the cause and restart the VM"
	case reasonUnreachable:
		return "see whether the compute container runs and whether volume libvirt-runtime has the socket; retrying"
	case reasonTimeout:
		return "libvirt in the compute container hangs, see its log; retrying"
	case reasonPlacement:
		return "compare the VM's vCPUs with the CPU limit of the compute container"
	case reasonUnreadable:
		return "please report this with the output of virsh dumpxml"
	case reasonCPUSet:
		return "the kubelet writes a cpuset when it grants or starts, and not again by itself: find what else writes it, and restart the kubelet to have the grant written again"
	case reasonHousekeeping:
		return "restart the VM, or run it without isolateEmulatorThread"
	case reasonUnpinned:
		return "see the log of the compute container, or set pinning.mode of the agent to enforce"
	case reasonNotOwned:
		return "where launcher pods have no VMI, name their namespace in pinning.launcherNamespaces of the agent"
	case reasonTopology:
		return "compare the online CPUs with the kubelet's grant; the kubelet knows those that were online when it started"
	case reasonLibvirt, reasonNotVerified:
		return "see the log of libvirt in the compute container; retrying"
	}
	return ""
}
