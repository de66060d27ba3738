// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"

	ours "corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/test/conformance/kubelet136/difftest"
)

// memoryProvider is the memory manager as a hint provider of the topology manager, which is its store, too.
type memoryProvider struct {
	memory
	indexOf map[int]int // of NUMA nodes by id
}

// startMemoryProvider starts the memory manager, over the checkpoint of the one before if there is one.
func startMemoryProvider(c difftest.Config, store topologymanager.Store, before *memoryProvider) (*memoryProvider, error) {
	p := &memoryProvider{indexOf: map[int]int{}}
	info := machineInfo(c.Machine)
	reserved := map[int]map[corev1.ResourceName]uint64{}
	for i := range info.Topology {
		node := &info.Topology[i]
		p.indexOf[node.Id] = i
		setMemory(node, c.Memory[i])
		reserved[node.Id] = reservedOf(c.Memory[i])
	}
	p.state = state.NewMemoryState(logr.Discard())
	if before != nil {
		if err := before.remember(p.state); err != nil {
			return nil, err
		}
	}
	policy, err := memorymanager.NewPolicyStatic(logr.Discard(), info, reserved, store)
	if err != nil {
		return nil, err
	}
	p.Policy = policy
	return p, policy.Start(logr.Discard(), p.state)
}

// remember copies the state to another one, by way of a checkpoint file.
func (p *memoryProvider) remember(to state.State) error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	checkpoint := func() (state.State, error) {
		return state.NewCheckpointState(logr.Discard(), dir, "memory_manager_state", p.Policy.Name())
	}
	written, err := checkpoint()
	if err != nil {
		return err
	}
	written.SetMachineState(p.state.GetMachineState())
	written.SetMemoryAssignments(p.state.GetMemoryAssignments())
	read, err := checkpoint()
	if err != nil {
		return err
	}
	to.SetMachineState(read.GetMachineState())
	to.SetMemoryAssignments(read.GetMemoryAssignments())
	return nil
}

// State is the machine state by index of NUMA nodes.
func (p *memoryProvider) State() ours.State {
	s := p.memory.State()
	machine := p.state.GetMachineState()
	for id, node := range machine {
		at := p.indexOf[id]
		s.NUMANodes[at].Group = 0
		for _, other := range node.Cells {
			s.NUMANodes[at].Group |= 1 << p.indexOf[other]
		}
	}
	return s
}

// held are the blocks of a pod.
func (p *memoryProvider) held(pod *corev1.Pod) []ours.Held {
	var held []ours.Held
	for i, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		isInit := i < len(pod.Spec.InitContainers) && container.RestartPolicy == nil
		first := len(held)
		for _, b := range p.state.GetMemoryBlocks(string(pod.UID), container.Name) {
			h := ours.Held{Container: container.Name, Init: isInit}
			h.Type = string(b.Type)
			h.Bytes = b.Size
			for _, id := range b.NUMAAffinity {
				h.NUMANodes |= 1 << p.indexOf[id]
			}
			held = append(held, h)
		}
		slices.SortFunc(held[first:], func(a, b ours.Held) int { return strings.Compare(a.Type, b.Type) })
	}
	return held
}

// The rest makes it a topologymanager.HintProvider.

func (p *memoryProvider) GetTopologyHints(logger logr.Logger, pod *corev1.Pod, container *corev1.Container, operation lifecycle.Operation) map[string][]topologymanager.TopologyHint {
	return p.Policy.GetTopologyHints(logger, p.state, pod, container, operation)
}

func (p *memoryProvider) GetPodTopologyHints(logger logr.Logger, pod *corev1.Pod, operation lifecycle.Operation) map[string][]topologymanager.TopologyHint {
	return p.Policy.GetPodTopologyHints(logger, p.state, pod, operation)
}

func (p *memoryProvider) Allocate(ctx context.Context, pod *corev1.Pod, container *corev1.Container, operation lifecycle.Operation) error {
	return p.Policy.Allocate(ctx, p.state, pod, container, operation)
}

func (p *memoryProvider) AllocatePod(logger logr.Logger, pod *corev1.Pod, operation lifecycle.Operation) error {
	return p.Policy.AllocatePod(logger, p.state, pod, operation)
}
