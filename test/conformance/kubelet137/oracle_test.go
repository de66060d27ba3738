package kubelet137

import (
	"context"

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
	"corepin.dev/corepin/test/conformance/kubelet136/difftest"
	"corepin.dev/corepin/test/conformance/kubelet136/static"
)

// kubelet is the version that go.mod names.
var kubelet = difftest.Kubelet{Minor: 37, Folder: "test/conformance/kubelet137", Start: start, Merge: merge, Memory: startMemory, QOS: qos.GetPodQOS, Fit: fit}

// oracle is a difftest.Oracle.
type oracle struct {
	static.Policy
	config  difftest.Config
	manager topologymanager.Manager
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
	if err := o.Run(policy, s, c.Machine.CPUs()); err != nil {
		return err
	}
	manager.AddHintProvider(logr.Discard(), o)
	o.manager = manager
	return nil
}

func (o *oracle) Restart() error {
	s, err := o.Remembered()
	if err != nil {
		return err
	}
	return o.start(s)
}

func (o *oracle) Add(pod *corev1.Pod) admission.Decision {
	return o.Outcome(pod, o.manager.Admit(context.Background(), &lifecycle.PodAdmitAttributes{Pod: pod, Operation: lifecycle.AddOperation}))
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
