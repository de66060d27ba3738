// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	podresourcesapi "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/kubernetes/pkg/kubelet/apis/podresources"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager/state"
)

// podResourcesSocket is where the kubelet serves pod resources, below its root directory.
const podResourcesSocket = "pod-resources/kubelet.sock"

// servePodResources serves what the kubelet's own server does, from the managers of this one.
func (k *Kubelet) servePodResources(ctx context.Context, rootDir string) error {
	socket := filepath.Join(rootDir, podResourcesSocket)
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return fmt.Errorf("serving pod resources: %w", err)
	}
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("serving pod resources: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("serving pod resources: %w", err)
	}
	k.podResources = grpc.NewServer()
	providers := providers{k}
	podresourcesapi.RegisterPodResourcesListerServer(k.podResources, podresources.NewV1PodResourcesServer(ctx, podresources.PodResourcesProviders{
		Pods: podSource{k}, Devices: providers, Cpus: providers, Memory: providers, DynamicResources: providers,
	}))
	go func() { _ = k.podResources.Serve(listener) }()
	return nil
}

// providers answer the podresources server as the kubelet's container manager does (pkg/kubelet/cm/container_manager_linux.go,
// v1.36.3).
type providers struct{ k *Kubelet }

func (p providers) UpdateAllocatedDevices() { p.k.devices.UpdateAllocatedDevices() }

func (p providers) GetDevices(podUID, container string) []*podresourcesapi.ContainerDevices {
	return containerDevices(p.k.devices.GetDevices(podUID, container))
}

func (p providers) GetAllocatableDevices() []*podresourcesapi.ContainerDevices {
	return containerDevices(p.k.devices.GetAllocatableDevices())
}

func (p providers) GetCPUs(podUID, container string) []int64 {
	return wide(p.k.cpus.GetExclusiveCPUs(podUID, container).List())
}

func (p providers) GetAllocatableCPUs() []int64 { return wide(p.k.cpus.GetAllocatableCPUs().List()) }

func (p providers) GetMemory(podUID, container string) []*podresourcesapi.ContainerMemory {
	if p.k.memory == nil {
		return nil
	}
	return containerMemory(p.k.memory.GetMemory(podUID, container))
}

func (p providers) GetAllocatableMemory() []*podresourcesapi.ContainerMemory {
	if p.k.memory == nil {
		return nil
	}
	return containerMemory(p.k.memory.GetAllocatableMemory())
}

func (p providers) GetDynamicResources(*corev1.Pod, *corev1.Container) []*podresourcesapi.DynamicResource {
	return nil
}

// containerDevices lists each device once for each of its NUMA nodes, and once if its topology is not given.
func containerDevices(devices devicemanager.ResourceDeviceInstances) []*podresourcesapi.ContainerDevices {
	var list []*podresourcesapi.ContainerDevices
	for resource, instances := range devices {
		for id, device := range instances {
			if device.GetTopology() == nil {
				list = append(list, &podresourcesapi.ContainerDevices{ResourceName: resource, DeviceIds: []string{id}})
			}
			for _, node := range device.GetTopology().GetNodes() {
				list = append(list, &podresourcesapi.ContainerDevices{
					ResourceName: resource, DeviceIds: []string{id}, Topology: topologyOf(node.GetID()),
				})
			}
		}
	}
	return list
}

func containerMemory(blocks []state.Block) []*podresourcesapi.ContainerMemory {
	var list []*podresourcesapi.ContainerMemory
	for _, block := range blocks {
		list = append(list, &podresourcesapi.ContainerMemory{
			MemoryType: string(block.Type), Size: block.Size, Topology: topologyOf(wide(block.NUMAAffinity)...),
		})
	}
	return list
}

func topologyOf(nodes ...int64) *podresourcesapi.TopologyInfo {
	topology := &podresourcesapi.TopologyInfo{}
	for _, node := range nodes {
		topology.Nodes = append(topology.Nodes, &podresourcesapi.NUMANode{ID: node})
	}
	return topology
}

func wide(ids []int) []int64 {
	all := make([]int64, 0, len(ids))
	for _, id := range ids {
		all = append(all, int64(id))
	}
	return all
}
