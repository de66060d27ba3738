// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/types"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/kubernetes/pkg/kubelet/checkpointmanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/checkpoint"
)

// The devices: virtual functions of two NUMA nodes, and as many without one as KubeVirt's own plugins have.
const (
	vfs        = "intel.com/vf"
	vfCount    = 2000
	plainCount = 1000
)

var plain = []string{"devices.kubevirt.io/kvm", "devices.kubevirt.io/tun", "devices.kubevirt.io/vhost-net"}

// kubeletDevices is what a kubelet says of devices: its checkpoint, written by the kubelet's own code, and its answer to who
// asks for pod resources.
type kubeletDevices struct {
	podresources.UnimplementedPodResourcesListerServer
	checkpoints checkpointmanager.CheckpointManager
	entries     []checkpoint.PodDevicesEntry // of the pods that are always there
	registered  map[string][]string
	answer      *podresources.AllocatableResourcesResponse
}

// newKubeletDevices makes the devices of a kubelet over a directory. Each pod of uids has two VFs.
func newKubeletDevices(ctx context.Context, rootDir string, uids []types.UID) (*kubeletDevices, error) {
	d := &kubeletDevices{registered: map[string][]string{}, answer: &podresources.AllocatableResourcesResponse{}}
	for id := range cpus {
		if id%(cpus/2) != 0 { // those are reserved
			d.answer.CpuIds = append(d.answer.CpuIds, int64(id))
		}
	}
	for i := range vfCount {
		node := &podresources.NUMANode{ID: int64(i % 2)}
		d.list(vfs, fmt.Sprintf("0000:%02x:%02x.%d", i/256, i/8%32, i%8), &podresources.TopologyInfo{Nodes: []*podresources.NUMANode{node}})
	}
	for _, name := range plain {
		for i := range plainCount {
			d.list(name, fmt.Sprintf("%s%d", filepath.Base(name), i), nil)
		}
	}
	for i, uid := range uids {
		d.entries = append(d.entries, d.entry(uid, 2*i), d.plainEntry(uid, i))
	}
	var err error
	if d.checkpoints, err = checkpointmanager.NewCheckpointManager(filepath.Join(rootDir, "device-plugins")); err != nil {
		return nil, fmt.Errorf("making the device manager's checkpoint: %w", err)
	}
	if err := d.write(); err != nil {
		return nil, err
	}
	return d, d.serve(ctx, filepath.Join(rootDir, "pod-resources", "kubelet.sock"))
}

func (d *kubeletDevices) list(resource, id string, topology *podresources.TopologyInfo) {
	d.registered[resource] = append(d.registered[resource], id)
	d.answer.Devices = append(d.answer.Devices, &podresources.ContainerDevices{ResourceName: resource, DeviceIds: []string{id}, Topology: topology})
}

// entry gives a pod the VF at a place, and the next one of the same NUMA node.
func (d *kubeletDevices) entry(uid types.UID, place int) checkpoint.PodDevicesEntry {
	ids := []string{d.registered[vfs][place], d.registered[vfs][(place+2)%vfCount]}
	return checkpoint.PodDevicesEntry{
		PodUID: string(uid), ContainerName: "compute", ResourceName: vfs,
		DeviceIDs: checkpoint.DevicesPerNUMA{int64(place % 2): ids}, AllocResp: make([]byte, 300),
	}
}

func (d *kubeletDevices) plainEntry(uid types.UID, place int) checkpoint.PodDevicesEntry {
	return checkpoint.PodDevicesEntry{
		PodUID: string(uid), ContainerName: "compute", ResourceName: plain[0],
		DeviceIDs: checkpoint.DevicesPerNUMA{-1: {d.registered[plain[0]][place]}}, AllocResp: make([]byte, 300),
	}
}

// write writes the checkpoint, with further entries at its end.
func (d *kubeletDevices) write(more ...checkpoint.PodDevicesEntry) error {
	entries := append(d.entries[:len(d.entries):len(d.entries)], more...)
	return d.checkpoints.CreateCheckpoint("kubelet_internal_checkpoint", checkpoint.New(entries, d.registered))
}

func (d *kubeletDevices) serve(ctx context.Context, socket string) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("serving pod resources: %w", err)
	}
	server := grpc.NewServer()
	podresources.RegisterPodResourcesListerServer(server, d)
	go func() { _ = server.Serve(listener) }()
	context.AfterFunc(ctx, server.Stop)
	return nil
}

// GetAllocatableResources answers the agent.
func (d *kubeletDevices) GetAllocatableResources(context.Context, *podresources.AllocatableResourcesRequest) (*podresources.AllocatableResourcesResponse, error) {
	return d.answer, nil
}

// amounts is the patch of a Node's status with its devices.
func amounts() ([]byte, error) {
	list := map[string]string{vfs: fmt.Sprint(vfCount)}
	for _, name := range plain {
		list[name] = fmt.Sprint(plainCount)
	}
	status := map[string]any{"capacity": list, "allocatable": list, "nodeInfo": map[string]any{"kubeletVersion": "v1.36.3"}}
	return json.Marshal(map[string]any{"status": status})
}
