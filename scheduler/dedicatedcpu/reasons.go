// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/nodes"
)

// refusal is why a node is refused. kube-scheduler counts equal reasons ("3 node(s) had ...") and cuts the sum at 1,024
// characters. So there are few reasons, they are short, and they have no names or numbers.
type refusal struct {
	// code is Unschedulable if evicting pods from the node can help, UnschedulableAndUnresolvable if it cannot, and
	// Pending if the node's next report decides.
	code fwk.Code
	// reason is the text in the pod's FailedScheduling event.
	reason string
	// label is the reason in metric node_refusals_total.
	label string
}

// Reasons for refusing a node.
const (
	ReasonNoLabel          = "node(s) didn't have label cpumanager=true"
	ReasonNoReport         = "node(s) had no CPU report (NodeCPU; does corepin-agent run there?)"
	ReasonUnlisted         = "node(s) had no CPU report, as the scheduler can't list nodecpus.corepin.dev"
	ReasonStarting         = "node(s) had CPU reports that are still being listed"
	ReasonSilent           = "node(s) are not heard from (is corepin-agent's pod there ready?)"
	ReasonAwaited          = "node(s) were starting, their first CPU report is awaited"
	ReasonContradicted     = "node(s) had a CPU report that the Node contradicts"
	ReasonNewerReport      = "node(s) had a CPU report of a newer corepin than this scheduler's"
	ReasonUnreadableReport = "node(s) had a CPU report that can't be read"
	ReasonNoCPUManager     = "node(s) didn't run the kubelet's static CPU manager"
	ReasonInexact          = "node(s) had a kubelet whose decision can't be predicted exactly"
	ReasonInFlight         = "node(s) had several pods in flight, waiting for the CPU report"
	ReasonKept             = "node(s) kept their free exclusive CPUs for pods that are still to come"
	ReasonNoRoom           = "node(s) didn't have enough free exclusive CPUs"
	ReasonTooSmall         = "node(s) had fewer CPUs for exclusive use than asked"
	ReasonNoAlignment      = "node(s) didn't have enough free exclusive CPUs aligned on NUMA nodes"
	ReasonNeverAligned     = "node(s) can't align so many exclusive CPUs on NUMA nodes"
	ReasonNoNUMARoom       = "node(s) didn't have the CPUs, memory and devices asked free on the same NUMA nodes"
	ReasonNeverNUMARoom    = "node(s) can't give the CPUs, memory and devices asked on the same NUMA nodes"
	ReasonNoCores          = "node(s) didn't have enough free whole cores"
	ReasonNeverCores       = "node(s) can't give so many exclusive CPUs as whole cores"
	ReasonOddThreads       = "node(s) gave whole cores only, and the CPUs asked aren't a multiple of the threads per core"
	ReasonOther            = "node(s) had a kubelet that would refuse the pod"
	ReasonRestart          = "node(s) would lose running pods if the kubelet were started again with the VM there"
	ReasonSplitsThreads    = "node(s) would split the guest's hardware threads"
	ReasonNoThreadCPU      = "node(s) would leave no CPU for the guest's emulator or IO threads"
	ReasonLate             = "node(s) were not looked at, as the time for predictions in one cycle was over"
	ReasonCandidate        = "node(s) were looked at before the others, which come next"
	ReasonChanged          = "node(s) changed while the pod waited to be bound, and the kubelet might refuse it now"
	ReasonNoPages          = "node(s) didn't have enough free huge pages on the NUMA nodes of the guest's CPUs"
	ReasonGuestNUMA        = "node(s) would spread the guest over more NUMA nodes than it can have"
)

const (
	evictable = fwk.Unschedulable
	final     = fwk.UnschedulableAndUnresolvable
)

var (
	refusedNoLabel  = refusal{final, ReasonNoLabel, "no_label"}
	refusedNoReport = refusal{final, ReasonNoReport, "no_report"}

	refusedState = map[nodereport.State]*refusal{
		nodereport.Missing:      &refusedNoReport,
		nodereport.Unlisted:     {final, ReasonUnlisted, "unlisted"},
		nodereport.Starting:     {fwk.Pending, ReasonStarting, "starting"},
		nodereport.Replaced:     &refusedNoReport,
		nodereport.Silent:       {final, ReasonSilent, "silent"},
		nodereport.Awaited:      {fwk.Pending, ReasonAwaited, "awaited"},
		nodereport.Contradicted: {final, ReasonContradicted, "contradicted"},
		nodereport.Newer:        {final, ReasonNewerReport, "newer_report"},
		nodereport.Unreadable:   {final, ReasonUnreadableReport, "unreadable_report"},
		nodereport.NoCPUManager: {final, ReasonNoCPUManager, "no_cpu_manager"},
		nodereport.Inexact:      {final, ReasonInexact, "inexact"},
	}

	refusedInFlight      = refusal{fwk.Pending, ReasonInFlight, "in_flight"}
	refusedChanged       = refusal{evictable, ReasonChanged, "changed"}
	refusedLate          = refusal{final, ReasonLate, "late"}
	refusedCandidate     = refusal{final, ReasonCandidate, "candidate"}
	refusedKept          = refusal{evictable, ReasonKept, "kept"}
	refusedNoRoom        = refusal{evictable, ReasonNoRoom, "no_room"}
	refusedTooSmall      = refusal{final, ReasonTooSmall, "too_small"}
	refusedNoAlignment   = refusal{evictable, ReasonNoAlignment, "no_alignment"}
	refusedNeverAligned  = refusal{final, ReasonNeverAligned, "never_aligned"}
	refusedNoNUMARoom    = refusal{evictable, ReasonNoNUMARoom, "no_numa_room"}
	refusedNeverNUMARoom = refusal{final, ReasonNeverNUMARoom, "never_numa_room"}
	refusedNoCores       = refusal{evictable, ReasonNoCores, "no_cores"}
	refusedNeverCores    = refusal{final, ReasonNeverCores, "never_cores"}
	refusedOddThreads    = refusal{final, ReasonOddThreads, "odd_threads"}
	refusedOther         = refusal{evictable, ReasonOther, "other"}
	refusedOtherForever  = refusal{final, ReasonOther, "other"}

	refusedRestart      = refusal{evictable, ReasonRestart, "restart"}
	refusedNeverRestart = refusal{final, ReasonRestart, "restart"}

	refusedSplitsThreads       = refusal{evictable, ReasonSplitsThreads, "splits_threads"}
	refusedAlwaysSplitsThreads = refusal{final, ReasonSplitsThreads, "never_threads"}
	refusedNoThreadCPU         = refusal{final, ReasonNoThreadCPU, "no_thread_cpu"}
	refusedNoPages             = refusal{evictable, ReasonNoPages, "no_pages"}
	refusedNeverPages          = refusal{final, ReasonNoPages, "no_pages"}
	refusedGuestNUMA           = refusal{evictable, ReasonGuestNUMA, "guest_numa"}
	refusedNeverGuestNUMA      = refusal{final, ReasonGuestNUMA, "guest_numa"}
)

// estimatedFull and estimatedSmall refuse an estimated node: as it is, or even without any other pod.
var (
	estimatedFull  = estimatedRefusals(evictable, "; estimated full")
	estimatedSmall = estimatedRefusals(final, "; estimated too small")
)

// estimatedRefusals returns the refusals of nodes that can be estimated, each with the reason why they are.
func estimatedRefusals(code fwk.Code, estimated string) map[nodereport.State]*refusal {
	refusals := map[nodereport.State]*refusal{}
	for state, r := range refusedState {
		if state != nodereport.Starting && state != nodereport.Awaited && state != nodereport.NoCPUManager {
			refusals[state] = &refusal{code, r.reason + estimated, "estimated_" + r.label}
		}
	}
	refusals[nodereport.Replaced] = refusals[nodereport.Missing]
	return refusals
}

// allRefusals returns every refusal that Filter or Bind can give.
func allRefusals() []*refusal {
	all := []*refusal{
		&refusedNoLabel, &refusedInFlight, &refusedLate, &refusedCandidate, &refusedChanged, &refusedKept, &refusedNoRoom, &refusedTooSmall, &refusedNoAlignment, &refusedNeverAligned,
		&refusedNoNUMARoom, &refusedNeverNUMARoom,
		&refusedNoCores, &refusedNeverCores, &refusedOddThreads, &refusedOther, &refusedOtherForever,
		&refusedSplitsThreads, &refusedAlwaysSplitsThreads, &refusedNoThreadCPU, &refusedGuestNUMA, &refusedNeverGuestNUMA,
		&refusedNoPages, &refusedNeverPages,
		&refusedRestart, &refusedNeverRestart,
	}
	for _, byState := range []map[nodereport.State]*refusal{refusedState, estimatedFull, estimatedSmall} {
		all = slices.AppendSeq(all, maps.Values(byState))
	}
	slices.SortFunc(all, func(a, b *refusal) int {
		return cmp.Or(cmp.Compare(a.label, b.label), cmp.Compare(a.reason, b.reason), cmp.Compare(a.code, b.code))
	})
	return slices.Compact(all) // two states have one refusal
}

// refusalOf is the refusal for a verdict; nil for a node that can take the pod.
func refusalOf(p *nodes.Prediction, d *verdict.Demand) *refusal {
	switch p.Obstacle {
	case verdict.None:
		return nil
	case verdict.Label:
		return &refusedNoLabel
	case verdict.Counted:
		if p.Evictable {
			return estimatedFull[p.State]
		}
		return estimatedSmall[p.State]
	case verdict.InFlight:
		return &refusedInFlight
	case verdict.Late:
		return &refusedLate
	case verdict.Kept:
		return &refusedKept
	case verdict.Kubelet:
		return decisionRefusal(p, &d.Pod)
	case verdict.Restart:
		return either(p.Evictable, &refusedRestart, &refusedNeverRestart)
	case verdict.Guest:
		return guestRefusal(p.Guest, p.Evictable)
	}
	return refusedState[p.State]
}

// decisionRefusal is the refusal for a kubelet that would refuse the pod.
func decisionRefusal(p *nodes.Prediction, pod *admission.Pod) *refusal {
	if p.Besides {
		return either(p.Evictable, &refusedNoNUMARoom, &refusedNeverNUMARoom)
	}
	switch p.Decision.Reason {
	case admission.ReasonTopologyAffinity:
		return either(p.Evictable, &refusedNoAlignment, &refusedNeverAligned)
	case admission.ReasonSMTAlignment:
		if !p.Evictable && odd(p.Node, pod) {
			return &refusedOddThreads
		}
		return either(p.Evictable, &refusedNoCores, &refusedNeverCores)
	case admission.ReasonUnexpected:
		return either(p.Evictable, &refusedNoRoom, &refusedTooSmall)
	}
	return either(p.Evictable, &refusedOther, &refusedOtherForever)
}

// guestRefusal is the refusal for CPUs that do not satisfy the guest: err is an error of placement.Fit, or verdict.ErrPages.
func guestRefusal(err error, evictable bool) *refusal {
	switch {
	case errors.Is(err, placement.ErrSplitsCore):
		return either(evictable, &refusedSplitsThreads, &refusedAlwaysSplitsThreads)
	case errors.Is(err, placement.ErrTooFew):
		return &refusedNoThreadCPU
	case errors.Is(err, verdict.ErrPages):
		return either(evictable, &refusedNoPages, &refusedNeverPages)
	}
	return either(evictable, &refusedGuestNUMA, &refusedNeverGuestNUMA)
}

func either(evictable bool, occupied, never *refusal) *refusal {
	if evictable {
		return occupied
	}
	return never
}

// odd reports whether a container asks for CPUs that do not fill whole cores.
func odd(node *admission.Node, pod *admission.Pod) bool {
	threads := node.Topology.ThreadsPerCore()
	for _, container := range pod.Containers {
		if threads > 0 && container.CPUs%threads != 0 {
			return true
		}
	}
	return false
}
