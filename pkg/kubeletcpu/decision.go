package kubeletcpu

import (
	"cmp"
	"fmt"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
)

// Verdict is the outcome of an admission.
type Verdict uint8

const (
	// Refused: the kubelet would fail the pod, for Reason.
	Refused Verdict = iota
	// Admitted: every container gets what it asks for.
	Admitted
	// Wait: nobody can tell before the kubelet has acknowledged pods that are in flight.
	Wait
)

// String gives the verdict in one word.
func (v Verdict) String() string { return [...]string{"refused", "admitted", "wait"}[v] }

// Reasons for which a kubelet refuses a pod, as in the pod's status.reason and the event.
const (
	ReasonTopologyAffinity = "TopologyAffinityError"
	ReasonSMTAlignment     = "SMTAlignmentError"
	ReasonUnexpected       = "UnexpectedAdmissionError"
	ReasonEmptySharedPool  = "EmptyPodSharedPoolError" // under the gate PodLevelResourceManagers only
)

// Reasons that are ours: the kubelet does not refuse in these cases, it goes wrong, so the pod is better
// off elsewhere.
const (
	// ReasonNotFree: the kubelet would grant CPUs that it has already granted, or reserved. It can on
	// machines whose cores or sockets differ in size (see packed.go).
	ReasonNotFree = "CPUsNotFree"
	// ReasonEndless: the kubelet's distribution over NUMA nodes would never end (see distributed.go).
	ReasonEndless = "EndlessDistribution"
)

// Grant is the exclusive CPUs of one container.
type Grant struct {
	// Container is "" for the CPUs of a pod as a whole (see podlevel.go).
	Container string
	CPUs      cpuset.Set
	// Part tells that these are a part of the CPUs of the pod as a whole.
	Part bool
}

// Decision is what a kubelet will do with a pod.
type Decision struct {
	Verdict Verdict
	// Grants has an entry for every container that gets exclusive CPUs, in the order of the pod.
	Grants []Grant
	// Alternatives stands in place of Grants where AdmitAll finds that what an admitted pod gets depends on
	// the pods in flight: every Grants that is possible, each once.
	Alternatives [][]Grant
	// Shared is the shared pool afterwards.
	Shared cpuset.Set
	// NotFree are CPUs of Grants that were not the kubelet's to grant: held by another container or
	// reserved. Kubelets do that on machines whose cores or sockets differ in size: see packed.go.
	NotFree cpuset.Set
	// Reason and Message are the kubelet's own, "" for an admitted pod. The kubelet puts "Pod was
	// rejected: " before the message in the pod's status.
	Reason, Message string
	// Preemptible tells of a refused pod whether it would be admitted were the node empty: if not, no
	// eviction can ever help.
	Preemptible bool
}

// Granted are all the CPUs of Grants.
func (d Decision) Granted() cpuset.Set { return granted(d.Grants) }

func granted(grants []Grant) cpuset.Set {
	var all cpuset.Set
	for i := range grants {
		if !grants[i].Part {
			all = all.Union(grants[i].CPUs)
		}
	}
	return all
}

// String gives the decision in one line: "admitted: compute 1-4,65-68" or
// "refused: TopologyAffinityError: Resources cannot be allocated with Topology locality".
func (d Decision) String() string {
	var b strings.Builder
	b.WriteString(d.Verdict.String())
	if d.Reason != "" {
		fmt.Fprintf(&b, ": %s", d.Reason)
	}
	if d.Message != "" {
		fmt.Fprintf(&b, ": %s", d.Message)
	}
	for i, grant := range d.Grants {
		separator := ", "
		if i == 0 {
			separator = ": "
		}
		fmt.Fprintf(&b, "%s%s %s", separator, cmp.Or(grant.Container, "(pod)"), grant.CPUs)
	}
	if d.Verdict == Refused && !d.Preemptible {
		b.WriteString(" (on the empty node too)")
	}
	return b.String()
}
