// SPDX-License-Identifier: Apache-2.0

// Package devicemanager is the kubelet's device manager: which devices a container gets, as far as that is determined, and
// which NUMA nodes could serve a request.
//
// Devices have ids, and only the kubelet and the device plugin know which one a container gets. What decides about pods is
// how many there are on each set of NUMA nodes, so devices are numbers here. Rules that are easily overlooked:
//
//   - Pods of every QoS class are aligned with their devices.
//   - A resource gives hints only if some device of it has a NUMA node (Resource.Aligned).
//   - A set of NUMA nodes is possible if enough free devices touch it. It is preferred if no smaller set is touched by
//     enough devices, free or not, healthy or not.
//   - A request that cannot be served has an empty list of hints, and the topology manager refuses the pod. The memory
//     manager has no list there, which means no preference (pkg/kubelet/memorymanager).
//   - Devices of an init container are reused by later containers of the pod, and held until the pod ends.
//   - A request for no device at all has hints like any other.
//   - Resources that no device plugin serves are not seen: bridge.network.kubevirt.io/br1, or those that DRA serves.
//
// Which group of devices a container gets is not always determined. Then the numbers afterwards are right in sum only
// (Resource.Unsure), until the next report.
//
// The source is pkg/kubelet/cm/devicemanager of k8s.io/kubernetes, v1.36.3; v1.37.2 and v1.38.0-beta.0 decide
// alike. Up to 1.35 hints are made of all NUMA nodes of the machine, and not only of those with devices of the resource.
package devicemanager
