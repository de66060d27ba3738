// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"slices"

	"github.com/go-logr/logr"
	cadvisor "github.com/google/cadvisor/info/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
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

// Version is what differs between these kubelets.
type Version struct {
	Minor int
	// Folder is that of the package that tests it, in the repository.
	Folder string
	// Admission is the addition of a pod to a node with others.
	Admission func(pod *corev1.Pod, others []*corev1.Pod) *lifecycle.PodAdmitAttributes
	// CopyPods copies the CPUs of pods as a whole. It is nil for a kubelet that has none.
	CopyPods func(to, from state.State)
}

// Kubelet is the kubelet of a version.
func (v Version) Kubelet() difftest.Kubelet {
	return difftest.Kubelet{Minor: v.Minor, Folder: v.Folder, Start: v.start, Merge: merge, Memory: startMemory, QOS: qos.GetPodQOS, Fit: v.fit}
}

// podAllocator is the part of a manager's policy that kubelets have from 1.36 on: what a pod gets as a whole.
type podAllocator[S any] interface {
	AllocatePod(logger logr.Logger, s S, pod *corev1.Pod) error
}

// oracle is a difftest.Oracle.
type oracle struct {
	static.Policy
	version Version
	config  difftest.Config
	manager topologymanager.Manager
	memory  *memoryProvider // nil where there is no memory manager
	devices *deviceProvider // nil where there is no device manager
	pods    []*corev1.Pod   // on the node
}

func (v Version) start(c difftest.Config) (difftest.Oracle, error) {
	o := &oracle{version: v, config: c}
	o.CopyPods = v.CopyPods
	if err := o.start(static.NewState()); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *oracle) start(s state.State) error {
	c, info := o.config, machineInfo(o.config.Machine)
	manager, err := topologymanager.NewManager(info.Topology, c.Policy, c.Scope, c.TopologyOptions)
	if err != nil {
		return err
	}
	topo, err := discover(info)
	if err != nil {
		return err
	}
	count := c.ReservedCount
	if count == 0 {
		count = c.Reserved.Len()
	}
	policy, err := newCPUPolicy(topo, count, k8scpuset.New(c.Reserved.List()...), manager, c.CPUOptions)
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
		addHintProvider(o.manager, o.devices)
	}
	addHintProvider(o.manager, o)
	if o.config.Memory != nil {
		if o.memory, err = startMemoryProvider(o.config, o.manager, o.memory); err != nil {
			return err
		}
		addHintProvider(o.manager, o.memory)
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
	result := o.manager.Admit(o.version.Admission(pod, nil))
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
	o.devices.UpdateAllocatedDevices()
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

func (o *oracle) GetTopologyHints(pod *corev1.Pod, container *corev1.Container) map[string][]topologymanager.TopologyHint {
	return o.Policy.GetTopologyHints(logr.Discard(), o.State, pod, container)
}

func (o *oracle) GetPodTopologyHints(pod *corev1.Pod) map[string][]topologymanager.TopologyHint {
	return o.Policy.GetPodTopologyHints(logr.Discard(), o.State, pod)
}

func (o *oracle) Allocate(pod *corev1.Pod, container *corev1.Container) error {
	return o.Policy.Allocate(logr.Discard(), o.State, pod, container)
}

func (o *oracle) AllocatePod(pod *corev1.Pod) error {
	return any(o.CPUPolicy).(podAllocator[state.State]).AllocatePod(logr.Discard(), o.State, pod)
}
