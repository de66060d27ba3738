// SPDX-License-Identifier: Apache-2.0

// Package memorymanager is the kubelet's memory manager with the policy Static: which NUMA nodes the memory of a
// container comes from, and which NUMA nodes could serve a request.
//
// A request is an amount of each type of memory: "memory", and "hugepages-<size>" for each page size. Only Guaranteed
// pods make requests, but every container of them does, whether it has exclusive CPUs or not. Three rules decide:
//
//   - A set of NUMA nodes is possible if it has enough free memory of every type. It is preferred if no smaller set has
//     enough allocatable memory, free or not.
//   - A NUMA node serves either single allocations or those of one group of NUMA nodes (NUMANode.Group). The group stays
//     until nothing is allocated on the node any more, so it depends on history.
//   - Memory of an init container is reused by later containers of the pod, but only on the same set of NUMA nodes.
//
// Where no set is possible, the manager has no hints at all. The topology manager takes that for no preference and
// admits the pod, and then Allocate fails it. The CPU manager says instead that nothing is possible.
//
// The source is pkg/kubelet/cm/memorymanager/policy_static.go of k8s.io/kubernetes, v1.36.3; v1.37.2 decides alike,
// and v1.38.0-beta.0 but for the request of a pod: PodRequest.
// Pod-level resources are not modelled: see admission.Node.Inexact.
package memorymanager
