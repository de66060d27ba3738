package pinning

import (
	"context"
	"errors"
	"time"
)

// reason says why a look at a guest did not end with valid pins. It is a label of a metric, so the set is
// closed.
type reason string

const (
	reasonNoGrant     reason = "no_grant"    // the kubelet gave the compute container no exclusive CPUs
	reasonUnreachable reason = "unreachable" // nothing answers at the socket
	reasonTimeout     reason = "timeout"     // libvirt did not answer within the deadline
	reasonUnreadable  reason = "unreadable"  // the guest's description is not understood
	reasonPlacement   reason = "placement"   // the guest does not fit on the granted CPUs
	reasonLibvirt     reason = "libvirt"     // libvirt answered with an error
	reasonNotVerified reason = "unverified"  // libvirt took the pins, and yet the threads are elsewhere
	reasonCPUSet      reason = "cpuset"      // the container's cpuset is not what the kubelet granted
	reasonUnpinned    reason = "unpinned"    // nobody has pinned the guest, and the first pin is not ours
	reasonNotOwned    reason = "not_owned"   // no VMI owns the pod, and its namespace is not configured
	reasonTopology    reason = "topology"    // CPUs are granted that are not known to be online
)

// problem is why a look at a guest did not end with valid pins, in words for the operator.
type problem struct {
	reason reason
	err    error
}

func (p *problem) Error() string { return p.err.Error() }

// problemOf sorts an error of a Hypervisor.
func problemOf(err error) *problem {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{reasonTimeout, err}
	case errors.Is(err, ErrUnreachable):
		return &problem{reasonUnreachable, err}
	case errors.Is(err, ErrUnreadable):
		return &problem{reasonUnreadable, err}
	default:
		return &problem{reasonLibvirt, err}
	}
}

// passing tells whether the problem often goes away within seconds, while a launcher pod starts or ends
// or the agent has not read the kubelet's newest grants. Such a problem is told only when it lasts.
func (p *problem) passing() bool {
	switch p.reason {
	case reasonPlacement, reasonNotVerified, reasonUnreadable:
		return false
	default:
		return true
	}
}

// ofConnection tells whether a new connection to libvirt may mend the problem.
func (p *problem) ofConnection() bool {
	return p.reason == reasonUnreachable || p.reason == reasonTimeout || p.reason == reasonLibvirt
}

// patience is for how many deadlines the problem must last to be told.
func (p *problem) patience() time.Duration {
	switch {
	case p.reason == reasonCPUSet:
		return 3 // the kubelet looks at the cpusets every ten seconds (pkg/kubelet/cm/cpumanager, reconcilePeriod)
	case p.reason == reasonTopology:
		return 3 // the agent looks which CPUs are online every ten seconds
	case p.passing():
		return 1
	default:
		return 0
	}
}

// nextStep is what the operator can do about it.
func (p *problem) nextStep() string {
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
		return "the kubelet writes a container's cpuset within ten seconds; if it stays so, see the kubelet's log"
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
