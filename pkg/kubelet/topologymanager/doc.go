// SPDX-License-Identifier: Apache-2.0

// Package topologymanager is the kubelet's topology manager: it chooses the NUMA nodes for a container, or for a
// pod as a whole.
//
// Each manager of a resource is a HintProvider. It says of every set of NUMA nodes whether the set can serve the
// request, and whether the set is preferred. A set is preferred if no smaller one would do on an empty machine.
// The best set is a preferred one, then the one with the fewest NUMA nodes, then the lowest numbered. The policy
// decides whether the best set is good enough:
//
//   - none does not ask; callers handle it before they come here.
//   - best-effort takes any set, and all NUMA nodes if there is none.
//   - restricted insists on a preferred set.
//   - single-numa-node insists on one NUMA node.
//
// The source is pkg/kubelet/cm/topologymanager of k8s.io/kubernetes, v1.36.3; v1.34 to v1.38.0-beta.0 decide
// alike.
// Scope pod asks once for the whole pod, scope container asks for each container: see pkg/kubelet/admission.
package topologymanager
