// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/klog/v2"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
)

const (
	memoryStateFile  = "memory_manager_state"
	memoryPolicyNone = "None"
)

// startMemory starts the memory manager. What is reserved is the eviction threshold, on the first NUMA node.
func (k *Kubelet) startMemory(ctx context.Context, o KubeletOptions, affinity topologymanager.Store) error {
	reserved := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(evictionMemory)}
	var onNodes []kubeletconfig.MemoryReservation
	if o.Settings.MemoryManagerPolicy != memoryPolicyNone {
		onNodes = []kubeletconfig.MemoryReservation{{NumaNode: int32(o.Machine.Topology[0].Id), Limits: reserved}}
	}
	logger := klog.FromContext(ctx)
	var err error
	k.memory, err = memorymanager.NewManager(logger, o.Settings.MemoryManagerPolicy, o.Machine, reserved, onNodes, o.RootDir, affinity)
	if err != nil {
		return fmt.Errorf("making the memory manager: %w", err)
	}
	if err := k.memory.Start(ctx, k.activePods, sources{&k.ready}, noStatus{}, noRuntime{}, containermap.NewContainerMap()); err != nil {
		return fmt.Errorf("starting the memory manager: %w", err)
	}
	return nil
}
