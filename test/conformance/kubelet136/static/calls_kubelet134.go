// SPDX-License-Identifier: Apache-2.0

//go:build kubelet134

package static

import (
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
)

// CPUPolicy is a CPU manager policy with the calls that it has from 1.35 on.
type CPUPolicy struct{ cpumanager.Policy }

// NewState is a state in which nothing is granted, in memory.
func NewState() state.State { return state.NewMemoryState() }

func newCheckpoint(dir, policy string) (state.State, error) {
	return state.NewCheckpointState(dir, "cpu_manager_state", policy, containermap.NewContainerMap())
}

// Start is that of 1.35.
func (p CPUPolicy) Start(_ logr.Logger, s state.State) error { return p.Policy.Start(s) }

// Allocate is that of 1.35.
func (p CPUPolicy) Allocate(_ logr.Logger, s state.State, pod *corev1.Pod, container *corev1.Container) error {
	return p.Policy.Allocate(s, pod, container)
}

// RemoveContainer is that of 1.35.
func (p CPUPolicy) RemoveContainer(_ logr.Logger, s state.State, podUID, container string) error {
	return p.Policy.RemoveContainer(s, podUID, container)
}

// GetTopologyHints is that of 1.35.
func (p CPUPolicy) GetTopologyHints(_ logr.Logger, s state.State, pod *corev1.Pod, container *corev1.Container) map[string][]topologymanager.TopologyHint {
	return p.Policy.GetTopologyHints(s, pod, container)
}

// GetPodTopologyHints is that of 1.35.
func (p CPUPolicy) GetPodTopologyHints(_ logr.Logger, s state.State, pod *corev1.Pod) map[string][]topologymanager.TopologyHint {
	return p.Policy.GetPodTopologyHints(s, pod)
}
