// SPDX-License-Identifier: Apache-2.0

//go:build !kubelet134

package static

import (
	"github.com/go-logr/logr"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
)

// CPUPolicy is a CPU manager policy.
type CPUPolicy = cpumanager.Policy

// NewState is a state in which nothing is granted, in memory.
func NewState() state.State { return state.NewMemoryState(logr.Discard()) }

func newCheckpoint(dir, policy string) (state.State, error) {
	return state.NewCheckpointState(logr.Discard(), dir, "cpu_manager_state", policy, containermap.NewContainerMap())
}
