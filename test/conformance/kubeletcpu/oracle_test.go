package conformance

import (
	"fmt"

	"github.com/go-logr/logr"
	cadvisor "github.com/google/cadvisor/info/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/topology"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	k8scpuset "k8s.io/utils/cpuset"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubeletcpu"
)

// oracleMinor is the version of the kubelet packages that go.mod names.
const oracleMinor = 36

// oracle is the kubelet's own topology manager with the static CPU manager policy as the only hint
// provider.
type oracle struct {
	manager  topologymanager.Manager
	policy   cpumanager.Policy
	state    state.State
	reserved cpuset.Set
}

func newOracle(s scenario) (*oracle, error) {
	info := machineInfo(s.machine)
	manager, err := topologymanager.NewManager(info.Topology, s.policy, s.scope, options(s.topologyOptions))
	if err != nil {
		return nil, err
	}
	topo, err := topology.Discover(logr.Discard(), info)
	if err != nil {
		return nil, err
	}
	count, reserved := s.reservedCount, k8scpuset.New()
	if count == 0 {
		count, reserved = s.reserved.Len(), k8scpuset.New(s.reserved.List()...)
	}
	policy, err := cpumanager.NewStaticPolicy(logr.Discard(), topo, count, reserved, manager, options(s.cpuOptions))
	if err != nil {
		return nil, err
	}
	o := &oracle{manager: manager, policy: policy, state: state.NewMemoryState(logr.Discard())}
	if err := policy.Start(logr.Discard(), o.state); err != nil {
		return nil, err
	}
	manager.AddHintProvider(logr.Discard(), o)
	o.reserved = s.machine.CPUs().Minus(ours(policy.GetAllocatableCPUs(o.state)))
	return o, nil
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

// add admits a pod and gives the outcome in our words. The containers of a refused pod are removed, as
// the CPU manager does before the next admission.
func (o *oracle) add(pod *corev1.Pod) kubeletcpu.Decision {
	result := o.manager.Admit(&lifecycle.PodAdmitAttributes{Pod: pod, Operation: lifecycle.AddOperation})
	d := kubeletcpu.Decision{Reason: result.Reason, Message: result.Message}
	if !result.Admit {
		o.remove(pod)
	} else {
		d.Verdict = kubeletcpu.Admitted
		for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			if cpus, ok := o.state.GetCPUSet(string(pod.UID), container.Name); ok {
				d.Grants = append(d.Grants, kubeletcpu.Grant{Container: container.Name, CPUs: ours(cpus)})
			}
		}
	}
	d.Shared = o.shared()
	return d
}

func (o *oracle) remove(pod *corev1.Pod) {
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if err := o.policy.RemoveContainer(logr.Discard(), o.state, string(pod.UID), container.Name); err != nil {
			panic(fmt.Sprintf("the static policy never fails to remove a container, but: %v", err))
		}
	}
}

func (o *oracle) shared() cpuset.Set { return ours(o.state.GetDefaultCPUSet()) }

func ours(s k8scpuset.CPUSet) cpuset.Set { return cpuset.Of(s.UnsortedList()...) }

// The rest makes the policy a topologymanager.HintProvider, as the CPU manager is.

func (o *oracle) GetTopologyHints(pod *corev1.Pod, container *corev1.Container) map[string][]topologymanager.TopologyHint {
	return o.policy.GetTopologyHints(logr.Discard(), o.state, pod, container)
}

func (o *oracle) GetPodTopologyHints(pod *corev1.Pod) map[string][]topologymanager.TopologyHint {
	return o.policy.GetPodTopologyHints(logr.Discard(), o.state, pod)
}

func (o *oracle) Allocate(pod *corev1.Pod, container *corev1.Container) error {
	return o.policy.Allocate(logr.Discard(), o.state, pod, container)
}

func (o *oracle) AllocatePod(pod *corev1.Pod) error {
	return o.policy.AllocatePod(logr.Discard(), o.state, pod)
}
