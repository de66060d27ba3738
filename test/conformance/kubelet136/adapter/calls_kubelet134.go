// SPDX-License-Identifier: Apache-2.0

//go:build kubelet134

package adapter

import (
	"context"

	"github.com/go-logr/logr"
	cadvisor "github.com/google/cadvisor/info/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/topology"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	plugins "k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/plugin/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/config"
	k8scpuset "k8s.io/utils/cpuset"

	"corepin.dev/corepin/test/conformance/kubelet136/static"
)

// The managers with the calls that they have from 1.35 on.
type (
	memoryPolicy  struct{ memorymanager.Policy }
	deviceManager struct{ *devicemanager.ManagerImpl }
	hints         = map[string][]topologymanager.TopologyHint
	amounts       = map[int]map[corev1.ResourceName]uint64 // by NUMA node
)

func discover(info *cadvisor.MachineInfo) (*topology.CPUTopology, error) {
	return topology.Discover(info)
}

func newCPUPolicy(t *topology.CPUTopology, count int, reserved k8scpuset.CPUSet, store topologymanager.Store, options map[string]string) (static.CPUPolicy, error) {
	policy, err := cpumanager.NewStaticPolicy(t, count, reserved, store, options)
	return static.CPUPolicy{Policy: policy}, err
}

func newMemoryPolicy(info *cadvisor.MachineInfo, reserved amounts, store topologymanager.Store) (memoryPolicy, error) {
	policy, err := memorymanager.NewPolicyStatic(context.Background(), info, reserved, store)
	return memoryPolicy{policy}, err
}

func newDeviceManager(machine []cadvisor.Node, store topologymanager.Store) (*deviceManager, error) {
	manager, err := devicemanager.NewManagerImpl(machine, store)
	return &deviceManager{manager}, err
}

func addHintProvider(m topologymanager.Manager, p topologymanager.HintProvider) {
	m.AddHintProvider(p)
}

func mergeHints(p topologymanager.Policy, of []hints) (topologymanager.TopologyHint, bool) {
	return p.Merge(of)
}

func nodeGetter(node *corev1.Node) func() (*corev1.Node, error) {
	return func() (*corev1.Node, error) { return node, nil }
}

func (p memoryPolicy) Start(_ logr.Logger, s state.State) error {
	return p.Policy.Start(context.Background(), s)
}

func (p memoryPolicy) Allocate(_ logr.Logger, s state.State, pod *corev1.Pod, container *corev1.Container) error {
	return p.Policy.Allocate(context.Background(), s, pod, container)
}

func (p memoryPolicy) RemoveContainer(_ logr.Logger, s state.State, podUID, container string) {
	p.Policy.RemoveContainer(context.Background(), s, podUID, container)
}

func (p memoryPolicy) GetTopologyHints(_ logr.Logger, s state.State, pod *corev1.Pod, container *corev1.Container) hints {
	return p.Policy.GetTopologyHints(context.Background(), s, pod, container)
}

func (p memoryPolicy) GetPodTopologyHints(_ logr.Logger, s state.State, pod *corev1.Pod) hints {
	return p.Policy.GetPodTopologyHints(context.Background(), s, pod)
}

func (m *deviceManager) Start(_ logr.Logger, pods devicemanager.ActivePodsFunc, ready config.SourcesReady, of containermap.ContainerMap, running sets.Set[string]) error {
	return m.ManagerImpl.Start(pods, ready, of, running)
}

func (m *deviceManager) Stop(logr.Logger) error { return m.ManagerImpl.Stop() }

func (m *deviceManager) PluginConnected(_ context.Context, resource string, p plugins.DevicePlugin) error {
	return m.ManagerImpl.PluginConnected(resource, p)
}

func (m *deviceManager) PluginListAndWatchReceiver(_ logr.Logger, resource string, list *pluginapi.ListAndWatchResponse) {
	m.ManagerImpl.PluginListAndWatchReceiver(resource, list)
}
