// SPDX-License-Identifier: Apache-2.0

// Package plugin is device plugins for the kubelet's own device manager, for all versions of its packages alike: devices
// that are only names, and a folder of the test's own for the device manager's files.
package plugin

import (
	"context"
	"fmt"
	"math/rand/v2"

	"google.golang.org/grpc"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"corepin.dev/corepin/test/conformance/kubelet136/difftest"
)

// Plugin serves the devices of one resource.
type Plugin struct {
	pluginapi.DevicePluginClient // what the device manager never calls here

	resource difftest.DeviceResource
	dice     *rand.Rand
	devices  []*pluginapi.Device
	numaOf   map[string][]int // by device id
}

// New is the plugin of a resource.
func New(r difftest.DeviceResource) *Plugin {
	p := &Plugin{resource: r, dice: rand.New(rand.NewPCG(1, 0)), numaOf: map[string][]int{}}
	for i, device := range r.Devices {
		d := &pluginapi.Device{ID: fmt.Sprintf("d%d", i), Health: pluginapi.Healthy}
		if !device.Healthy {
			d.Health = pluginapi.Unhealthy
		}
		if len(device.NUMANodes) > 0 {
			d.Topology = &pluginapi.TopologyInfo{}
		}
		for _, id := range device.NUMANodes {
			d.Topology.Nodes = append(d.Topology.Nodes, &pluginapi.NUMANode{ID: int64(id)})
		}
		p.devices = append(p.devices, d)
		p.numaOf[d.ID] = device.NUMANodes
	}
	return p
}

// List is what the plugin tells the device manager of its devices.
func (p *Plugin) List() *pluginapi.ListAndWatchResponse {
	return &pluginapi.ListAndWatchResponse{Devices: p.devices}
}

// NUMANodes are the ids of a device's NUMA nodes.
func (p *Plugin) NUMANodes(device string) []int { return p.numaOf[device] }

// API makes it a plugin of the device manager, with Resource and SocketPath.
func (p *Plugin) API() pluginapi.DevicePluginClient { return p }

// Resource is the resource's name.
func (p *Plugin) Resource() string { return p.resource.Name }

// SocketPath is a name that no other plugin has.
func (p *Plugin) SocketPath() string { return p.resource.Name }

// GetDevicePluginOptions says whether the plugin has preferences.
func (p *Plugin) GetDevicePluginOptions(context.Context, *pluginapi.Empty, ...grpc.CallOption) (*pluginapi.DevicePluginOptions, error) {
	return &pluginapi.DevicePluginOptions{GetPreferredAllocationAvailable: p.resource.Prefers}, nil
}

// GetPreferredAllocation prefers any devices.
func (p *Plugin) GetPreferredAllocation(_ context.Context, r *pluginapi.PreferredAllocationRequest, _ ...grpc.CallOption) (*pluginapi.PreferredAllocationResponse, error) {
	response := &pluginapi.PreferredAllocationResponse{}
	for _, container := range r.ContainerRequests {
		ids := append([]string{}, container.AvailableDeviceIDs...)
		p.dice.Shuffle(len(ids), func(i, k int) { ids[i], ids[k] = ids[k], ids[i] })
		ids = ids[:min(len(ids), int(container.AllocationSize))]
		response.ContainerResponses = append(response.ContainerResponses, &pluginapi.ContainerPreferredAllocationResponse{DeviceIDs: ids})
	}
	return response, nil
}

// Allocate hands every device out.
func (p *Plugin) Allocate(_ context.Context, r *pluginapi.AllocateRequest, _ ...grpc.CallOption) (*pluginapi.AllocateResponse, error) {
	response := &pluginapi.AllocateResponse{}
	for range r.ContainerRequests {
		response.ContainerResponses = append(response.ContainerResponses, &pluginapi.ContainerAllocateResponse{})
	}
	return response, nil
}
