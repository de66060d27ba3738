package kubelet

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"corepin.dev/corepin/pkg/cpuset"
)

// Where the kubelet serves pod resources, below its root directory (cmd/kubelet/app/options and
// pkg/kubelet/apis/podresources/constants.go, v1.36.3).
const (
	podResourcesDir    = "pod-resources"
	podResourcesSocket = "kubelet.sock"
)

const (
	// askTimeout bounds one question to the kubelet.
	askTimeout = 5 * time.Second
	// maxAnswer bounds an answer of the kubelet. Each of KubeVirt's own device plugins has a thousand devices.
	maxAnswer = 16 << 20
)

// allocatable is what the kubelet may grant.
type allocatable struct {
	cpus cpuset.Set
	// devices are the healthy devices of each resource that has any, sorted by id. They are left out where no device of
	// the resource has a NUMA node: only the resource is listed then.
	devices map[string][]Device
}

// askAllocatable asks the kubelet what it may grant. It is a connection for each question, and a question is rare.
//
// What containers hold is not asked: the kubelet's answer to List has neither the pods' UIDs nor init containers, and the
// device manager's checkpoint has both.
func askAllocatable(ctx context.Context, rootDir string) (allocatable, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	socket := filepath.Join(rootDir, podResourcesDir, podResourcesSocket)
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return allocatable{}, fmt.Errorf("asking %s: %w", socket, err)
	}
	defer connection.Close()
	answer, err := podresources.NewPodResourcesListerClient(connection).GetAllocatableResources(ctx, &podresources.AllocatableResourcesRequest{})
	if err != nil {
		return allocatable{}, fmt.Errorf("asking %s: %w", socket, err)
	}
	a, err := allocatableOf(answer)
	if err != nil {
		return allocatable{}, fmt.Errorf("asking %s: %w", socket, err)
	}
	return a, nil
}

// allocatableOf reads an answer. The kubelet lists a device once for each of its NUMA nodes
// (containerDevicesFromResourceDeviceInstances in pkg/kubelet/cm/container_manager.go, v1.36.3).
func allocatableOf(answer *podresources.AllocatableResourcesResponse) (allocatable, error) {
	a := allocatable{devices: map[string][]Device{}}
	for _, id := range answer.GetCpuIds() {
		if id < 0 || id >= cpuset.MaxCPUs {
			return allocatable{}, fmt.Errorf("CPU %d is none", id)
		}
		a.cpus.Add(int(id))
	}
	aligned := map[string]map[string][]int64{}
	for _, listed := range answer.GetDevices() {
		a.devices[listed.GetResourceName()] = nil
		if len(listed.GetTopology().GetNodes()) > 0 {
			aligned[listed.GetResourceName()] = map[string][]int64{}
		}
	}
	for _, listed := range answer.GetDevices() {
		nodes := aligned[listed.GetResourceName()]
		if nodes == nil {
			continue
		}
		var on []int64
		for _, node := range listed.GetTopology().GetNodes() {
			on = append(on, node.GetID())
		}
		for _, id := range listed.GetDeviceIds() {
			nodes[id] = append(nodes[id], on...)
		}
	}
	for resource, nodes := range aligned {
		devices, err := devicesOf(nodes)
		if err != nil {
			return allocatable{}, fmt.Errorf("%.80s: %w", resource, err)
		}
		a.devices[resource] = devices
	}
	return a, nil
}
