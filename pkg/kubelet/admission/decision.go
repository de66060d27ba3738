// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"cmp"
	"fmt"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// Verdict is the outcome of an admission.
type Verdict uint8

const (
	// Refused: the kubelet would fail the pod, for Reason.
	Refused Verdict = iota
	// Admitted: every container gets what it asks for.
	Admitted
	// Wait: the answer depends on pods in flight that the kubelet has not acknowledged yet.
	Wait
)

// String gives the verdict in one word.
func (v Verdict) String() string { return [...]string{"refused", "admitted", "wait"}[v] }

// Reasons for which a kubelet refuses a pod, as in the pod's status.reason and the event.
const (
	ReasonTopologyAffinity = topologymanager.ReasonAffinity
	ReasonSMTAlignment     = cpumanager.ReasonSMTAlignment
	ReasonUnexpected       = "UnexpectedAdmissionError"
	ReasonEmptySharedPool  = "EmptyPodSharedPoolError" // under the gate PodLevelResourceManagers only
)

// Reasons of ours. The kubelet does not refuse in these cases but goes wrong, so the pod is better off elsewhere.
const (
	// ReasonNotFree: the kubelet would grant CPUs that it has already granted, or reserved. This happens on machines
	// whose cores or sockets differ in size (see pkg/kubelet/cpumanager/packed.go).
	ReasonNotFree = "CPUsNotFree"
	// ReasonLastShared: the kubelet would grant the last CPUs of the shared pool, and could not start again. This
	// happens with strict-cpu-reservation (validateState in pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3).
	ReasonLastShared = "LastSharedCPUs"
	// ReasonEndless: the kubelet's distribution over NUMA nodes would never end.
	ReasonEndless = cpumanager.ReasonEndless
	// ReasonPanic: the kubelet would panic, again at every start.
	ReasonPanic = topologymanager.ReasonPanic
	// ReasonUndetermined: only the kubelet, or a device plugin, knows which devices an earlier container gets, and the
	// answer for a later one depends on it.
	ReasonUndetermined = "Undetermined"
)

// Grant is the exclusive CPUs of one container.
type Grant struct {
	// Container is "" for the CPUs of a pod as a whole: see podlevel.go.
	Container string
	CPUs      cpuset.Set
	// Part is set where these are a part of the CPUs of the pod as a whole.
	Part bool
}

// Decision is what a kubelet will do with a pod.
type Decision struct {
	Verdict Verdict
	// Grants has an entry for every container that gets exclusive CPUs, in the order of the pod.
	Grants []Grant
	// Alternatives replace Grants where the CPUs of an admitted pod depend on the pods in flight. They are all the
	// Grants that are possible, each once. Only AdmitAfter sets them.
	Alternatives [][]Grant
	// Held is what else an admitted pod holds.
	Held Held
	// Shared is the shared pool afterwards.
	Shared cpuset.Set
	// NotFree are CPUs of Grants that another container holds, or that are reserved: see ReasonNotFree.
	NotFree cpuset.Set
	// Reason and Message are the kubelet's own, and "" for an admitted pod. In the pod's status the kubelet puts
	// "Pod was rejected: " before the message.
	Reason, Message string
	// Preemptible is set for a refused pod that the empty node would admit. If it is not set, no eviction can help.
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
