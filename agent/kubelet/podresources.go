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

// askTimeout bounds one question to the kubelet.
const askTimeout = 5 * time.Second

// askAllocatable asks the kubelet which CPUs it may grant. It is a connection for each question, and a
// question is rare: what it answers is fixed when the kubelet starts.
func askAllocatable(ctx context.Context, rootDir string) (cpuset.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	socket := filepath.Join(rootDir, podResourcesDir, podResourcesSocket)
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return cpuset.Set{}, fmt.Errorf("asking %s: %w", socket, err)
	}
	defer connection.Close()
	answer, err := podresources.NewPodResourcesListerClient(connection).GetAllocatableResources(ctx, &podresources.AllocatableResourcesRequest{})
	if err != nil {
		return cpuset.Set{}, fmt.Errorf("asking %s: %w", socket, err)
	}
	var cpus cpuset.Set
	for _, id := range answer.GetCpuIds() {
		if id < 0 || id >= cpuset.MaxCPUs {
			return cpuset.Set{}, fmt.Errorf("asking %s: CPU %d is none", socket, id)
		}
		cpus.Add(int(id))
	}
	return cpus, nil
}
