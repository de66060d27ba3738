// SPDX-License-Identifier: Apache-2.0

package topologymanager

// ReasonAffinity is the reason of a pod that the topology manager refuses (ErrorTopologyAffinity in
// topology_manager.go, v1.36.3).
const ReasonAffinity = "TopologyAffinityError"

// Refusal is an error with a reason of its own, the status.reason of the pod that it fails. Every other error of a
// manager fails the pod with reason UnexpectedAdmissionError (pkg/kubelet/cm/admission/errors.go, v1.36.3).
type Refusal struct{ Reason, Message string }

// Error gives the message.
func (r *Refusal) Error() string { return r.Message }

// ReasonPanic is a reason of ours: the kubelet would not refuse the pod but panic, again at every start.
const ReasonPanic = "KubeletPanics"

// errPanic is prefer-closest-numa-nodes on a machine whose NUMA node numbers have gaps: see Request.distance.
var errPanic = &Refusal{ReasonPanic,
	"the kubelet would panic: its option prefer-closest-numa-nodes does not work where the numbers of NUMA nodes have gaps"}

// ErrAffinity is the refusal of a pod without pod-level resources.
var ErrAffinity = &Refusal{ReasonAffinity, "Resources cannot be allocated with Topology locality"}
