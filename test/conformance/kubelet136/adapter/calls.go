// SPDX-License-Identifier: Apache-2.0

//go:build !kubelet134

package adapter

import (
	"context"

	"github.com/go-logr/logr"
	cadvisor "github.com/google/cadvisor/info/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/topology"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	k8scpuset "k8s.io/utils/cpuset"

	"corepin.dev/corepin/test/conformance/kubelet136/static"
)

type (
	memoryPolicy  = memorymanager.Policy
	deviceManager = devicemanager.ManagerImpl
	hints         = map[string][]topologymanager.TopologyHint
	amounts       = map[int]map[corev1.ResourceName]uint64 // by NUMA node
)

func discover(info *cadvisor.MachineInfo) (*topology.CPUTopology, error) {
	return topology.Discover(logr.Discard(), info)
}

func newCPUPolicy(t *topology.CPUTopology, count int, reserved k8scpuset.CPUSet, store topologymanager.Store, options map[string]string) (static.CPUPolicy, error) {
	return cpumanager.NewStaticPolicy(logr.Discard(), t, count, reserved, store, options)
}

func newMemoryPolicy(info *cadvisor.MachineInfo, reserved amounts, store topologymanager.Store) (memoryPolicy, error) {
	return memorymanager.NewPolicyStatic(logr.Discard(), info, reserved, store)
}

func newDeviceManager(machine []cadvisor.Node, store topologymanager.Store) (*deviceManager, error) {
	return devicemanager.NewManagerImpl(machine, store)
}

func addHintProvider(m topologymanager.Manager, p topologymanager.HintProvider) {
	m.AddHintProvider(logr.Discard(), p)
}

func mergeHints(p topologymanager.Policy, of []hints) (topologymanager.TopologyHint, bool) {
	return p.Merge(logr.Discard(), of)
}

func nodeGetter(node *corev1.Node) func(context.Context, bool) (*corev1.Node, error) {
	return func(context.Context, bool) (*corev1.Node, error) { return node, nil }
}
