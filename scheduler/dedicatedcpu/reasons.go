package dedicatedcpu

import (
	"maps"
	"slices"

	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/scheduler/nodeview"
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

// waitsForPods reports whether the node waits for the report of pods in flight.
func (r *refusal) waitsForPods() bool { return r.label == labelInFlight }

const labelInFlight = "in_flight"

// Reasons for refusing a node.
const (
	ReasonNoLabel          = "node(s) didn't have label cpumanager=true"
	ReasonNoReport         = "node(s) had no CPU report (NodeCPU; does corepin-agent run there?)"
	ReasonUnlisted         = "node(s) had no CPU report, as the scheduler can't list nodecpus.corepin.dev"
	ReasonStarting         = "node(s) had CPU reports that are still being listed"
	ReasonNewerReport      = "node(s) had a CPU report of a newer corepin than this scheduler's"
	ReasonUnreadableReport = "node(s) had a CPU report that can't be read"
	ReasonNoCPUManager     = "node(s) didn't run the kubelet's static CPU manager"
	ReasonInexact          = "node(s) had a kubelet whose decision can't be predicted exactly"
	ReasonInFlight         = "node(s) had several pods in flight, waiting for the CPU report"
	ReasonNoRoom           = "node(s) didn't have enough free exclusive CPUs"
	ReasonTooSmall         = "node(s) had fewer CPUs for exclusive use than asked"
	ReasonNoAlignment      = "node(s) didn't have enough free exclusive CPUs aligned on NUMA nodes"
	ReasonNeverAligned     = "node(s) can't align so many exclusive CPUs on NUMA nodes"
	ReasonNoCores          = "node(s) didn't have enough free whole cores"
	ReasonNeverCores       = "node(s) can't give so many exclusive CPUs as whole cores"
	ReasonOddThreads       = "node(s) gave whole cores only, and the CPUs asked aren't a multiple of the threads per core"
	ReasonOther            = "node(s) had a kubelet that would refuse the pod"
	ReasonSplitsThreads    = "node(s) would split the guest's hardware threads"
	ReasonNoThreadCPU      = "node(s) would leave no CPU for the guest's emulator or IO threads"
	ReasonGuestNUMA        = "node(s) would spread the guest over more NUMA nodes than it can have"
)

const (
	evictable = fwk.Unschedulable
	final     = fwk.UnschedulableAndUnresolvable
)

var (
	refusedNoLabel = refusal{final, ReasonNoLabel, "no_label"}

	refusedStanding = map[nodeview.Standing]*refusal{
		nodeview.Missing:      {final, ReasonNoReport, "no_report"},
		nodeview.Unlisted:     {final, ReasonUnlisted, "unlisted"},
		nodeview.Starting:     {fwk.Pending, ReasonStarting, "starting"},
		nodeview.Newer:        {final, ReasonNewerReport, "newer_report"},
		nodeview.Unreadable:   {final, ReasonUnreadableReport, "unreadable_report"},
		nodeview.NoCPUManager: {final, ReasonNoCPUManager, "no_cpu_manager"},
		nodeview.Inexact:      {final, ReasonInexact, "inexact"},
	}

	refusedInFlight     = refusal{fwk.Pending, ReasonInFlight, labelInFlight}
	refusedNoRoom       = refusal{evictable, ReasonNoRoom, "no_room"}
	refusedTooSmall     = refusal{final, ReasonTooSmall, "too_small"}
	refusedNoAlignment  = refusal{evictable, ReasonNoAlignment, "no_alignment"}
	refusedNeverAligned = refusal{final, ReasonNeverAligned, "never_aligned"}
	refusedNoCores      = refusal{evictable, ReasonNoCores, "no_cores"}
	refusedNeverCores   = refusal{final, ReasonNeverCores, "never_cores"}
	refusedOddThreads   = refusal{final, ReasonOddThreads, "odd_threads"}
	refusedOther        = refusal{evictable, ReasonOther, "other"}
	refusedOtherForever = refusal{final, ReasonOther, "other"}

	refusedSplitsThreads       = refusal{evictable, ReasonSplitsThreads, "splits_threads"}
	refusedAlwaysSplitsThreads = refusal{final, ReasonSplitsThreads, "never_threads"}
	refusedNoThreadCPU         = refusal{final, ReasonNoThreadCPU, "no_thread_cpu"}
	refusedGuestNUMA           = refusal{evictable, ReasonGuestNUMA, "guest_numa"}
	refusedNeverGuestNUMA      = refusal{final, ReasonGuestNUMA, "guest_numa"}
)

// estimatedFull and estimatedSmall refuse an estimated node: as it is, or even without any other pod.
var (
	estimatedFull  = estimatedRefusals(evictable, "; estimated full")
	estimatedSmall = estimatedRefusals(final, "; estimated too small")
)

// estimatedRefusals returns the refusals of nodes that can be estimated, each with the reason why they are.
func estimatedRefusals(code fwk.Code, estimated string) map[nodeview.Standing]*refusal {
	refusals := map[nodeview.Standing]*refusal{}
	for standing, r := range refusedStanding {
		if standing != nodeview.Starting && standing != nodeview.NoCPUManager {
			refusals[standing] = &refusal{code, r.reason + estimated, "estimated_" + r.label}
		}
	}
	return refusals
}

// allRefusals returns every refusal that Filter can give.
func allRefusals() []*refusal {
	all := []*refusal{
		&refusedNoLabel, &refusedInFlight, &refusedNoRoom, &refusedTooSmall, &refusedNoAlignment, &refusedNeverAligned,
		&refusedNoCores, &refusedNeverCores, &refusedOddThreads, &refusedOther, &refusedOtherForever,
		&refusedSplitsThreads, &refusedAlwaysSplitsThreads, &refusedNoThreadCPU, &refusedGuestNUMA, &refusedNeverGuestNUMA,
	}
	for _, byStanding := range []map[nodeview.Standing]*refusal{refusedStanding, estimatedFull, estimatedSmall} {
		all = slices.AppendSeq(all, maps.Values(byStanding))
	}
	return all
}

// decisionRefusal is the refusal for a decision of the kubelet; nil for an admitted pod.
func decisionRefusal(p *nodeview.Prediction, pod *admission.Pod) *refusal {
	switch p.Decision.Verdict {
	case admission.Admitted:
		return nil
	case admission.Wait:
		return &refusedInFlight
	}
	evictable := p.Decision.Preemptible
	switch p.Decision.Reason {
	case admission.ReasonTopologyAffinity:
		return either(evictable, &refusedNoAlignment, &refusedNeverAligned)
	case admission.ReasonSMTAlignment:
		if !evictable && odd(p.Node, pod) {
			return &refusedOddThreads
		}
		return either(evictable, &refusedNoCores, &refusedNeverCores)
	case admission.ReasonUnexpected:
		return either(evictable, &refusedNoRoom, &refusedTooSmall)
	}
	return either(evictable, &refusedOther, &refusedOtherForever)
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
