// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"context"
	"slices"

	"github.com/go-logr/logr"
	cadvisor "github.com/google/cadvisor/lib/model"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/topology"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	k8scpuset "k8s.io/utils/cpuset"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/test/conformance/kubelet136/difftest"
	"corepin.dev/corepin/test/conformance/kubelet136/static"
)

// Kubelet is a kubelet 1.<minor>. folder is that of the package that tests it, in the repository.
func Kubelet(minor int, folder string) difftest.Kubelet {
	return difftest.Kubelet{Minor: minor, Folder: folder, Start: start, Merge: merge, Memory: startMemory, QOS: qos.GetPodQOS, Fit: fit}
}

// oracle is a difftest.Oracle.
type oracle struct {
	static.Policy
	config  difftest.Config
	manager topologymanager.Manager
	memory  *memoryProvider // nil where there is no memory manager
	devices *deviceProvider // nil where there is no device manager
	pods    []*corev1.Pod   // on the node
}

func start(c difftest.Config) (difftest.Oracle, error) {
	o := &oracle{config: c}
	o.CopyPods = func(to, from state.State) { to.SetPodCPUAssignments(from.GetPodCPUAssignments()) }
	if err := o.start(state.NewMemoryState(logr.Discard())); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *oracle) start(s state.State) error {
	c, info := o.config, machineInfo(o.config.Machine)
	manager, err := topologymanager.NewManager(logr.Discard(), info.Topology, c.Policy, c.Scope, c.TopologyOptions)
	if err != nil {
		return err
	}
	topo, err := topology.Discover(logr.Discard(), info)
	if err != nil {
		return err
	}
	count := c.ReservedCount
	if count == 0 {
		count = c.Reserved.Len()
	}
	policy, err := cpumanager.NewStaticPolicy(logr.Discard(), topo, count, k8scpuset.New(c.Reserved.List()...), manager, c.CPUOptions)
	if err != nil {
		return err
	}
	if err := o.Run(policy, s, c.Machine.CPUs()); err != nil {
		return err
	}
	o.manager = manager
	return o.addProviders()
}

// addProviders adds the hint providers in the kubelet's order: device manager, CPU manager, memory manager
// (NewContainerManager in pkg/kubelet/cm/container_manager_linux.go).
func (o *oracle) addProviders() (err error) {
	if o.config.Devices != nil {
		if o.devices == nil {
			o.devices, err = startDevices(o.config, o.manager, func() []*corev1.Pod { return o.pods })
		} else {
			err = o.devices.restart(o.config, o.manager)
		}
		if err != nil {
			return err
		}
		o.manager.AddHintProvider(logr.Discard(), o.devices)
	}
	o.manager.AddHintProvider(logr.Discard(), o)
	if o.config.Memory != nil {
		if o.memory, err = startMemoryProvider(o.config, o.manager, o.memory); err != nil {
			return err
		}
		o.manager.AddHintProvider(logr.Discard(), o.memory)
	}
	return nil
}

func (o *oracle) Restart(pluginsLater bool) error {
	s, err := o.Remembered()
	if err == nil {
		err = o.start(s)
	}
	if err != nil || o.devices == nil || pluginsLater {
		return err
	}
	return o.devices.register()
}

func (o *oracle) Ready() {
	if o.devices == nil {
		return
	}
	err := o.devices.register()
	if err != nil {
		panic(err)
	}
	o.devices.ready = true
}

func (o *oracle) Add(pod *corev1.Pod) admission.Decision {
	if !slices.Contains(o.pods, pod) {
		o.pods = append(o.pods, pod)
	}
	result := o.manager.Admit(context.Background(), &lifecycle.PodAdmitAttributes{Pod: pod, Operation: lifecycle.AddOperation})
	d := o.Outcome(pod, result)
	if !result.Admit {
		o.forget(pod)
		return d
	}
	if o.memory != nil {
		d.Held.Memory = o.memory.held(pod)
	}
	if o.devices != nil {
		d.Held.Devices = o.devices.inventory.Held(pod)
	}
	return d
}

// Remove takes back all that a pod holds.
func (o *oracle) Remove(pod *corev1.Pod) {
	o.Policy.Remove(pod)
	o.forget(pod)
}

// forget takes back memory and devices.
func (o *oracle) forget(pod *corev1.Pod) {
	o.pods = slices.DeleteFunc(o.pods, func(other *corev1.Pod) bool { return other == pod })
	if o.memory != nil {
		for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			o.memory.Remove(pod, container.Name)
		}
	}
}

// StartApps gives back the memory of a pod's init containers.
func (o *oracle) StartApps(pod *corev1.Pod) {
	for _, container := range pod.Spec.InitContainers {
		if container.RestartPolicy == nil {
			o.memory.Remove(pod, container.Name)
		}
	}
}

// Memory is the memory manager's state.
func (o *oracle) Memory() *memorymanager.State {
	if o.memory == nil {
		return nil
	}
	s := o.memory.State()
	return &s
}

// Devices are the device manager's.
func (o *oracle) Devices() *devicemanager.State {
	if o.devices == nil {
		return nil
	}
	o.devices.UpdateAllocatedDevices(logr.Discard())
	return o.devices.inventory.State(o.pods)
}

// Close ends the kubelet.
func (o *oracle) Close() {
	if o.devices != nil {
		o.devices.close()
	}
}

// machineInfo is what cadvisor would tell the kubelet of the machine.
func machineInfo(t *cputopology.Topology) *cadvisor.MachineInfo {
	info := &cadvisor.MachineInfo{NumCores: t.CPUs().Len(), NumPhysicalCores: len(t.Cores()), NumSockets: len(t.Sockets())}
	for _, node := range t.NUMANodes() {
		n := cadvisor.Node{Id: node.ID}
		for _, distance := range node.Distances {
			n.Distances = append(n.Distances, uint64(distance))
		}
		for _, core := range t.Cores() {
			if core.NUMANode == node.ID {
				n.Cores = append(n.Cores, cadvisor.Core{Id: core.ID, SocketID: core.Socket, Threads: core.CPUs.List(),
					UncoreCaches: []cadvisor.Cache{{Id: core.UncoreCache, Level: 3}}})
			}
		}
		info.Topology = append(info.Topology, n)
	}
	return info
}

// The rest makes the policy a topologymanager.HintProvider, as the CPU manager is.

func (o *oracle) GetTopologyHints(logger logr.Logger, pod *corev1.Pod, container *corev1.Container, operation lifecycle.Operation) map[string][]topologymanager.TopologyHint {
	return o.Policy.GetTopologyHints(logger, o.State, pod, container, operation)
}

func (o *oracle) GetPodTopologyHints(logger logr.Logger, pod *corev1.Pod, operation lifecycle.Operation) map[string][]topologymanager.TopologyHint {
	return o.Policy.GetPodTopologyHints(logger, o.State, pod, operation)
}

func (o *oracle) Allocate(ctx context.Context, pod *corev1.Pod, container *corev1.Container, operation lifecycle.Operation) error {
	return o.Policy.Allocate(logr.FromContextOrDiscard(ctx), o.State, pod, container, operation)
}

func (o *oracle) AllocatePod(logger logr.Logger, pod *corev1.Pod, operation lifecycle.Operation) error {
	return o.Policy.AllocatePod(logger, o.State, pod, operation)
}
