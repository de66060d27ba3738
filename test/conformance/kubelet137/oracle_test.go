package kubelet137

import (
	"context"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	cadvisor "github.com/google/cadvisor/lib/model"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/topology"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	k8scpuset "k8s.io/utils/cpuset"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/test/conformance/kubeletcpu/difftest"
)

// kubelet is the version that go.mod names.
var kubelet = difftest.Kubelet{Minor: 37, Start: start, QOS: qos.GetPodQOS, Fit: fit}

// oracle is a difftest.Oracle.
type oracle struct {
	config   difftest.Config
	manager  topologymanager.Manager
	policy   cpumanager.Policy
	state    state.State
	reserved cpuset.Set
}

func start(c difftest.Config) (difftest.Oracle, error) {
	o := &oracle{config: c}
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
	if err := policy.Start(logr.Discard(), s); err != nil {
		return err
	}
	manager.AddHintProvider(logr.Discard(), o)
	o.manager, o.policy, o.state = manager, policy, s
	if o.reserved.IsEmpty() { // nothing is granted yet
		o.reserved = c.Machine.CPUs().Minus(ours(policy.GetAllocatableCPUs(s)))
	}
	return nil
}

// Restart goes through a checkpoint file; between restarts a state in memory is much faster.
func (o *oracle) Restart() error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	checkpoint := func() (state.State, error) {
		return state.NewCheckpointState(logr.Discard(), dir, "cpu_manager_state", o.policy.Name(), containermap.NewContainerMap())
	}
	written, err := checkpoint()
	if err != nil {
		return err
	}
	written.SetDefaultCPUSet(o.state.GetDefaultCPUSet())
	written.SetCPUAssignments(o.state.GetCPUAssignments())
	written.SetPodCPUAssignments(o.state.GetPodCPUAssignments())
	read, err := checkpoint()
	if err != nil {
		return err
	}
	again := state.NewMemoryState(logr.Discard())
	again.SetDefaultCPUSet(read.GetDefaultCPUSet())
	again.SetCPUAssignments(read.GetCPUAssignments())
	again.SetPodCPUAssignments(read.GetPodCPUAssignments())
	return o.start(again)
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

// Add removes the containers of a refused pod at once; the CPU manager does so before the next admission.
func (o *oracle) Add(pod *corev1.Pod) kubeletcpu.Decision {
	result := o.manager.Admit(context.Background(), &lifecycle.PodAdmitAttributes{Pod: pod, Operation: lifecycle.AddOperation})
	d := kubeletcpu.Decision{Reason: result.Reason, Message: result.Message}
	if !result.Admit {
		o.Remove(pod)
	} else {
		d.Verdict = kubeletcpu.Admitted
		whole, asOne := o.state.GetPodCPUSet(string(pod.UID))
		if asOne {
			d.Grants = append(d.Grants, kubeletcpu.Grant{CPUs: ours(whole)})
		}
		for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			if cpus, ok := o.state.GetCPUSet(string(pod.UID), container.Name); ok {
				d.Grants = append(d.Grants, kubeletcpu.Grant{Container: container.Name, CPUs: ours(cpus), Part: asOne})
			}
		}
	}
	d.Shared = o.Shared()
	return d
}

func (o *oracle) Remove(pod *corev1.Pod) {
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if err := o.policy.RemoveContainer(logr.Discard(), o.state, string(pod.UID), container.Name); err != nil {
			panic(fmt.Sprintf("the static policy never fails to remove a container, but: %v", err))
		}
	}
}

func (o *oracle) Reserved() cpuset.Set { return o.reserved }

func (o *oracle) Shared() cpuset.Set { return ours(o.state.GetDefaultCPUSet()) }

func ours(s k8scpuset.CPUSet) cpuset.Set { return cpuset.Of(s.UnsortedList()...) }

// The rest makes the policy a topologymanager.HintProvider, as the CPU manager is.

func (o *oracle) GetTopologyHints(logger logr.Logger, pod *corev1.Pod, container *corev1.Container, operation lifecycle.Operation) map[string][]topologymanager.TopologyHint {
	return o.policy.GetTopologyHints(logger, o.state, pod, container, operation)
}

func (o *oracle) GetPodTopologyHints(logger logr.Logger, pod *corev1.Pod, operation lifecycle.Operation) map[string][]topologymanager.TopologyHint {
	return o.policy.GetPodTopologyHints(logger, o.state, pod, operation)
}

func (o *oracle) Allocate(ctx context.Context, pod *corev1.Pod, container *corev1.Container, operation lifecycle.Operation) error {
	return o.policy.Allocate(logr.FromContextOrDiscard(ctx), o.state, pod, container, operation)
}

func (o *oracle) AllocatePod(logger logr.Logger, pod *corev1.Pod, operation lifecycle.Operation) error {
	return o.policy.AllocatePod(logger, o.state, pod, operation)
}
