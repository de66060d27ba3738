// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
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

// askAllocatable asks the kubelet what it may grant, and returns its answer as it came: decodeAllocatable reads it. It is a
// connection for each question, and a question is rare.
//
// What containers hold is not asked: the kubelet's answer to List has neither the pods' UIDs nor init containers, and the
// device manager's checkpoint has both.
func askAllocatable(ctx context.Context, rootDir string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	socket := filepath.Join(rootDir, podResourcesDir, podResourcesSocket)
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.ForceCodecV2(undecoded{})))
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", socket, err)
	}
	defer connection.Close()
	var answer []byte
	if err := connection.Invoke(ctx, podresources.PodResourcesLister_GetAllocatableResources_FullMethodName, nil, &answer); err != nil {
		return nil, fmt.Errorf("asking %s: %w", socket, err)
	}
	return answer, nil
}

// undecoded leaves an answer as it is: most say the same as the one before, and a decoded one takes ten times its size. The
// question is a message without fields.
type undecoded struct{}

// Name is that of the encoding, by which the kubelet knows it.
func (undecoded) Name() string { return "proto" }

// Marshal encodes the question.
func (undecoded) Marshal(any) (mem.BufferSlice, error) { return nil, nil }

// Unmarshal copies the answer into a *[]byte.
func (undecoded) Unmarshal(data mem.BufferSlice, into any) error {
	bytes, ok := into.(*[]byte)
	if !ok {
		return fmt.Errorf("an answer is read into %T", into)
	}
	*bytes = data.Materialize()
	return nil
}
