// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
)

// Where the device manager keeps its checkpoint, below the kubelet's root directory, beside the plugins' sockets
// (pkg/kubelet/cm/devicemanager/manager.go and types.go, v1.36.3).
const (
	devicesDir  = "device-plugins"
	devicesFile = "kubelet_internal_checkpoint"
)

// Device is a device as its plugin names it, with the NUMA nodes that it is on.
type Device struct {
	ID string
	// NUMANodes are the kernel's ids as a list ("0", "0-1"); "" where the device has no NUMA node.
	NUMANodes string
}

// Devices is what the device manager's checkpoint says.
type Devices struct {
	// Registered is the number of healthy devices of each resource that has a plugin, as of the last write.
	Registered map[string]int
	// Held are the devices that containers hold, sorted by pod, container and resource. Containers that have ended are
	// there too, init containers among them, until the kubelet next admits a pod after the pod's end.
	Held []HeldDevices
}

// HeldDevices are the devices of one resource that one container holds.
type HeldDevices struct {
	Pod       types.UID
	Container string
	Resource  string
	Devices   []Device // sorted by ID
}

// devicesDocument is the file: the same in kubelets 1.34 to 1.38 (pkg/kubelet/cm/devicemanager/checkpoint/checkpoint.go,
// v1.34.4, v1.36.3, v1.37.2 and v1.38.0-beta.0). None of these has a BootID yet.
type devicesDocument struct {
	Data struct {
		PodDeviceEntries []struct {
			PodUID        types.UID
			ContainerName string
			ResourceName  string
			DeviceIDs     map[string][]string // by NUMA node; -1 stands for none
			AllocResp     ignored
		}
		RegisteredDevices map[string][]ignored // only their number is kept
	}
	Checksum json.RawMessage
	BootID   string
}

// ignored is a value that is not kept: what a plugin answered may be large, and plugins may list thousands of devices.
type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

// ParseDevices reads a kubelet_internal_checkpoint file. It is strict, as ParseCheckpoint is, and for the same reason does
// not verify the checksum, which is made from the Go representation of the kubelet's own types.
func ParseDevices(data []byte) (Devices, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return Devices{}, errors.New("the file is empty")
	}
	var document devicesDocument
	if err := decodeStrictly(data, &document, "drain the node and restart the kubelet"); err != nil {
		return Devices{}, err
	}
	d := Devices{Registered: make(map[string]int, len(document.Data.RegisteredDevices))}
	for resource, ids := range document.Data.RegisteredDevices {
		d.Registered[resource] = len(ids)
	}
	for i := range document.Data.PodDeviceEntries {
		entry := &document.Data.PodDeviceEntries[i]
		held := HeldDevices{Pod: entry.PodUID, Container: entry.ContainerName, Resource: entry.ResourceName}
		if held.Pod == "" || held.Container == "" || held.Resource == "" {
			return Devices{}, errors.New("an entry has no pod, no container or no resource")
		}
		var err error
		if held.Devices, err = devicesByNUMANode(entry.DeviceIDs); err != nil {
			return Devices{}, fmt.Errorf("%.80s of container %.80q of pod %.40q: %w", held.Resource, held.Container, held.Pod, err)
		}
		d.Held = append(d.Held, held)
	}
	slices.SortFunc(d.Held, compareHeld)
	for i := 1; i < len(d.Held); i++ {
		if compareHeld(d.Held[i-1], d.Held[i]) == 0 {
			return Devices{}, fmt.Errorf("%.80s of container %.80q of pod %.40q is listed twice", d.Held[i].Resource, d.Held[i].Container, d.Held[i].Pod)
		}
	}
	return d, nil
}

func compareHeld(a, b HeldDevices) int {
	return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container), cmp.Compare(a.Resource, b.Resource))
}

// devicesByNUMANode reads the ids by NUMA node. A device on two NUMA nodes is listed under both.
func devicesByNUMANode(lists map[string][]string) ([]Device, error) {
	var devices []located
	for list, ids := range lists {
		node, err := strconv.ParseInt(list, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("NUMA node %.40q is no number", list)
		}
		for _, id := range ids {
			devices = append(devices, located{id, node})
		}
	}
	return devicesOf(devices)
}

// withoutNUMANode is nodeWithoutTopology of pkg/kubelet/cm/devicemanager/manager.go (v1.36.3).
const withoutNUMANode = -1

// located is a device on one of its NUMA nodes, or on withoutNUMANode.
type located struct {
	id   string
	node int64
}

// devicesOf makes devices of the NUMA nodes of each, sorted by id. Devices of the same NUMA nodes share the text. It sorts
// the list.
func devicesOf(list []located) ([]Device, error) {
	slices.SortFunc(list, func(a, b located) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.node, b.node)) })
	number := 0
	for i := range list {
		if list[i].node < withoutNUMANode || list[i].node >= cpuset.MaxCPUs {
			return nil, fmt.Errorf("device %.80q is on NUMA node %d, and no machine has that", list[i].id, list[i].node)
		}
		if i == 0 || list[i].id != list[i-1].id {
			number++
		}
	}
	texts := map[cpuset.Set]string{}
	devices := make([]Device, 0, number)
	for i := 0; i < len(list); {
		id := list[i].id
		var nodes cpuset.Set
		for ; i < len(list) && list[i].id == id; i++ {
			if list[i].node != withoutNUMANode {
				nodes.Add(int(list[i].node))
			}
		}
		text, known := texts[nodes]
		if !known {
			text = nodes.String()
			texts[nodes] = text
		}
		devices = append(devices, Device{ID: id, NUMANodes: text})
	}
	return devices, nil
}
