// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	cadvisor "github.com/google/cadvisor/info/v1"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
)

const stateFile = "cpu_manager_state"

// Kubelet is one life of a kubelet, as far as it decides over CPUs: it admits pods in the order in which
// it hears of them and records the CPUs it grants in <root>/cpu_manager_state. It knows no API server.
// One goroutine at a time may call its methods, and none may admit after Stop.
type Kubelet struct {
	cpus    cpumanager.Manager
	memory  memorymanager.Manager
	devices *devicemanager.ManagerImpl // nil on a machine without devices
	// podResources is nil on a machine without devices.
	podResources *grpc.Server
	handlers     []lifecycle.PodAdmitHandler
	ready        atomic.Bool // the first list of pods was admitted
	stopped      atomic.Bool

	mu     sync.Mutex
	active []*corev1.Pod
}

// KubeletOptions is what a Kubelet is started with.
type KubeletOptions struct {
	RootDir  string // an existing directory; a checkpoint in it is taken over, as the kubelet does
	Machine  *cadvisor.MachineInfo
	Settings KubeletSettings
	// Devices reports whether there are device plugins. Only then is there a device manager, and are pod resources served.
	Devices bool
	// Running are pods whose containers run already.
	Running []*corev1.Pod
	// Node gives the Node object, for the fit predicate; cached says that an old one will do.
	Node func(ctx context.Context, cached bool) (*corev1.Node, error)
}

// Rejection is the kubelet's refusal of a pod, in its own words.
type Rejection struct {
	Pod             *corev1.Pod
	Reason, Message string
}

// NewKubelet starts a kubelet, or gives the error with which the real one would exit.
func NewKubelet(ctx context.Context, o KubeletOptions) (*Kubelet, error) {
	settings := o.Settings.withDefaults()
	o.Settings = settings
	reserved, ids, err := settings.reservation()
	if err != nil {
		return nil, err
	}
	topology, err := topologymanager.NewManager(o.Machine.Topology,
		settings.TopologyManagerPolicy, settings.TopologyManagerScope, settings.TopologyManagerPolicyOptions)
	if err != nil {
		return nil, fmt.Errorf("starting the topology manager: %w", err)
	}
	logger := klog.FromContext(ctx)
	cpus, err := cpumanager.NewManager(logger, settings.CPUManagerPolicy, settings.CPUManagerPolicyOptions, reconcilePeriod,
		o.Machine, ids, corev1.ResourceList{corev1.ResourceCPU: reserved}, o.RootDir, topology)
	if err != nil {
		return nil, fmt.Errorf("starting the CPU manager: %w", err)
	}
	k := &Kubelet{cpus: cpus}
	// The order of the providers is the kubelet's: devices, CPUs, memory (NewContainerManager in
	// pkg/kubelet/cm/container_manager_linux.go, v1.36.3).
	if o.Devices {
		if err := k.startDevices(o, topology); err != nil {
			return nil, err
		}
		topology.AddHintProvider(logger, k.devices)
	}
	topology.AddHintProvider(logger, cpus)
	// The order is the kubelet's (pkg/kubelet/kubelet.go, v1.36.3): resources are assigned, and may be
	// refused, before the pod is found to fit.
	k.handlers = []lifecycle.PodAdmitHandler{
		topology,
		lifecycle.NewPredicateAdmitHandler(o.Node, noPreemption{}, k.updatePlugins),
	}
	if err := cpus.Start(ctx, k.activePods, sources{&k.ready}, noStatus{}, noRuntime{}, containermap.NewContainerMap()); err != nil {
		return nil, fmt.Errorf("starting the CPU manager: %w", err)
	}
	if err := k.startMemory(ctx, o, topology); err != nil {
		return nil, err
	}
	topology.AddHintProvider(logger, k.memory)
	if o.Devices {
		return k, k.servePodResources(ctx, o.RootDir)
	}
	return k, nil
}

// forgetAssignments is what an administrator does before a kubelet may start with another policy of the CPU manager or the
// memory manager: remove the state files.
func forgetAssignments(rootDir string) error {
	for _, file := range []string{stateFile, memoryStateFile} {
		if err := os.Remove(filepath.Join(rootDir, file)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing the kubelet's state: %w", err)
		}
	}
	return nil
}

// Admit takes pods that the kubelet has not heard of in this life and returns those it refuses. Like the
// kubelet (HandlePodAdditions, v1.36.3) it orders pods that come together by creation time. The first
// call, which may be with no pods, is the list of what runs already: until then the kubelet drops no
// assignment, since it does not know whose they are.
func (k *Kubelet) Admit(pods ...*corev1.Pod) []Rejection {
	pods = slices.Clone(pods)
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	var rejected []Rejection
	for _, pod := range pods {
		others := k.pods()
		// Active from here on: the CPU manager drops what it has assigned to a pod that is not.
		k.setActive(append(slices.Clone(others), pod))
		if rejection := k.admit(pod, others); rejection != nil {
			k.Remove(pod.UID)
			rejected = append(rejected, *rejection)
		}
	}
	k.ready.Store(true)
	return rejected
}

func (k *Kubelet) admit(pod *corev1.Pod, others []*corev1.Pod) *Rejection {
	attributes := &lifecycle.PodAdmitAttributes{Pod: pod, OtherPods: others, Operation: lifecycle.AddOperation}
	for _, handler := range k.handlers {
		if result := handler.Admit(attributes); !result.Admit {
			return &Rejection{Pod: pod, Reason: result.Reason, Message: result.Message}
		}
	}
	return nil
}

// Remove says that a pod's containers have ended. Its CPUs stay assigned until the next admission or the
// next reconciliation, whichever is first; that is the kubelet's way.
func (k *Kubelet) Remove(uid types.UID) {
	k.setActive(slices.DeleteFunc(slices.Clone(k.pods()), func(pod *corev1.Pod) bool { return pod.UID == uid }))
}

// State reads the CPU manager's state: the assignments and the shared pool.
func (k *Kubelet) State() state.Reader { return k.cpus.State() }

// Stop ends this life. The checkpoint is left as it is and is not written again.
//
// The CPU manager has no way to stop its reconciliation, which would one day write an old state over a
// newer kubelet's. It asks for the active pods before it writes, under its own lock: from now on that
// question ends the goroutine, and a round that had its answer already is waited for here.
func (k *Kubelet) Stop() {
	if k.podResources != nil {
		k.podResources.Stop()
	}
	if k.devices != nil {
		_ = k.devices.Stop(klog.Background()) // it stops listening for plugins
	}
	k.stopped.Store(true)
	if lock, ok := k.cpus.(sync.Locker); ok {
		lock.Lock()
		defer lock.Unlock()
	}
}

// activePods answers the CPU manager, see Stop.
func (k *Kubelet) activePods() []*corev1.Pod {
	if k.stopped.Load() {
		runtime.Goexit()
	}
	return k.pods()
}

func (k *Kubelet) pods() []*corev1.Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.active
}

// setActive replaces the list: who has the old one may go on reading it.
func (k *Kubelet) setActive(pods []*corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.active = pods
}

// sources tells the CPU manager whether the first list of pods was seen.
type sources struct{ ready *atomic.Bool }

func (sources) AddSource(string) {}
func (s sources) AllReady() bool { return s.ready.Load() }

// noStatus knows no container: the CPU manager then leaves their cgroups, which do not exist, alone.
type noStatus struct{}

func (noStatus) GetPodStatus(types.UID) (corev1.PodStatus, bool) { return corev1.PodStatus{}, false }

// noRuntime is never called, see noStatus.
type noRuntime struct{}

func (noRuntime) UpdateContainerResources(context.Context, string, *runtimeapi.ContainerResources) error {
	return errors.New("a simulated node has no container runtime")
}

// noPreemption lets every refusal stand; the kubelet's own would evict pods for critical ones.
type noPreemption struct{}

func (noPreemption) HandleAdmissionFailure(_ context.Context, _ *corev1.Pod, reasons []lifecycle.PredicateFailureReason) ([]lifecycle.PredicateFailureReason, error) {
	return reasons, nil
}
