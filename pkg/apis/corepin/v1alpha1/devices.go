// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "k8s.io/apimachinery/pkg/types"

// HugePages are the huge pages of one size on a NUMA node, in numbers of pages.
type HugePages struct {
	// type is the name of the size as a resource: "hugepages-1Gi".
	// +kubebuilder:validation:MaxLength=63
	Type string `json:"type"`

	// pages are all.
	Pages int64 `json:"pages"`

	// free are those that nobody has taken: the fewest of the last half minute.
	Free int64 `json:"free"`
}

// DeviceResource is an extended resource that a device plugin serves.
type DeviceResource struct {
	// name is the resource's name: "intel.com/sriov_vf".
	// +kubebuilder:validation:MaxLength=317
	Name string `json:"name"`

	// unknown says why the numbers cannot be relied on; empty where they can. Pods that ask for this resource are then not
	// predicted exactly.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Unknown string `json:"unknown,omitempty"`

	// groups are its devices by the NUMA nodes that they are on.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Groups []DeviceGroup `json:"groups,omitempty"`

	// held is what containers hold of it, sorted by container, NUMA nodes and numbers. Containers that hold the same are one
	// entry, since there may be thousands of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	Held []HeldDevices `json:"held,omitempty"`
}

// DeviceGroup is the number of devices on one set of NUMA nodes.
type DeviceGroup struct {
	// numaNodes are the kernel's ids as a list: "0", or "0-1" for devices that are on both; empty for devices without a
	// NUMA node.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	NUMANodes string `json:"numaNodes,omitempty"`

	// devices are all, whether healthy or not.
	Devices int32 `json:"devices"`

	// healthy are the healthy ones of them.
	Healthy int32 `json:"healthy"`

	// free are the healthy ones that no container holds.
	Free int32 `json:"free"`
}

// HeldDevices is the number of devices that a container of each of some pods holds on one set of NUMA nodes.
type HeldDevices struct {
	// container is the container's name. It may have ended: init containers hold what they had until the pod has gone.
	// +kubebuilder:validation:MaxLength=63
	Container string `json:"container"`

	// numaNodes are the NUMA nodes of the devices, as in groups.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	NUMANodes string `json:"numaNodes,omitempty"`

	// devices is how many it holds.
	Devices int32 `json:"devices"`

	// again is how many of them another container of the pod has too that comes before it by name: a container takes over
	// the devices of init containers.
	// +optional
	Again int32 `json:"again,omitempty"`

	// unhealthy is how many of the others are not healthy now.
	// +optional
	Unhealthy int32 `json:"unhealthy,omitempty"`

	// podUIDs are the pods, sorted.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=4096
	PodUIDs []types.UID `json:"podUIDs"`
}
