package report

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/pkg/nodereport"
)

// Facts are all that a report is made from.
type Facts struct {
	Kubelet kubelet.State
	Host    source.Reading[*cputopology.Topology]
	// KubeletVersion is as the Node says; empty where it does not yet.
	KubeletVersion string
	// Pods are those of the node that the API server knows; what they ask for decides what a restart of
	// the kubelet does to them.
	Pods []*corev1.Pod
	// Labelled is what is to be said about the labels; nil where nothing is known yet.
	Labelled *metav1.Condition
	// Drifted is what is to be said about the pins of the node's guests; nil where nothing is known yet.
	Drifted *metav1.Condition
	// Pins are those of the node's guests, by pod; nil where nothing is known yet.
	Pins map[types.UID]string
}

// Build gives the report of the facts over the last report. What is not known stays as it was. The
// generation is the last one's.
func Build(f Facts, last v1alpha1.NodeCPUStatus, now time.Time) v1alpha1.NodeCPUStatus {
	s := *last.DeepCopy()
	s.Format = v1alpha1.FormatVersion
	if f.KubeletVersion != "" {
		s.KubeletVersion = f.KubeletVersion
	}
	if f.Host.Known {
		nodereport.SetTopology(&s, f.Host.Value)
	}
	if config, origin := f.Kubelet.Config(); origin != kubelet.Nowhere {
		s.CPUManager.Options = config.CPUManagerOptions
		s.TopologyManager = v1alpha1.TopologyManager{
			Policy: config.TopologyManagerPolicy, Scope: config.TopologyManagerScope, Options: config.TopologyManagerOptions,
		}
		s.MemoryManager.Policy = config.MemoryManagerPolicy
		// Only a kubelet with the gate on grants CPUs to whole pods, whatever its configuration file shows.
		s.PodLevelResourceManagers = config.PodLevelResourceManagers(minor(s.KubeletVersion)) || len(f.Kubelet.Checkpoint.Value.Pods) > 0
	}
	if checkpoint := f.Kubelet.Checkpoint; checkpoint.Known {
		s.CPUManager.Policy = checkpoint.Value.Policy
		s.SharedCPUs = checkpoint.Value.Shared.String()
		nodereport.SetGranted(&s, checkpoint.Value.Granted)
	}
	setPins(&s, f.Pins, last)
	if f.Kubelet.Memory.Known {
		setMemory(&s.MemoryManager, f.Kubelet.Memory.Value)
	}
	if cpus, known := reserved(f, s.CPUManager); known {
		s.ReservedCPUs = cpus.String()
	}
	nodereport.Summarize(&s)
	setConditions(&s, f, metav1.NewTime(now).Rfc3339Copy())
	return s
}

// setPins writes where guests are pinned beside what their pods were granted. Before anything is known of the
// guests, as after a start, what the last report says of them stays.
func setPins(s *v1alpha1.NodeCPUStatus, pins map[types.UID]string, last v1alpha1.NodeCPUStatus) {
	if pins == nil {
		pins = map[types.UID]string{}
		for _, grant := range last.Granted {
			pins[grant.PodUID] = grant.Pins
		}
	}
	for i := range s.Granted {
		s.Granted[i].Pins = pins[s.Granted[i].PodUID]
	}
}

// reserved are the CPUs that the kubelet keeps for the system: those it does not say it may grant, or, where
// it could never be asked that, those that its configuration comes to.
func reserved(f Facts, manager v1alpha1.CPUManager) (cpus cpuset.Set, known bool) {
	allocatable := f.Kubelet.Allocatable
	if allocatable.Known && f.Host.Known && manager.Policy == kubeletcpu.CPUManagerStatic && !allocatable.Value.IsEmpty() {
		return f.Host.Value.CPUs().Minus(allocatable.Value), true
	}
	config, origin := f.Kubelet.Config()
	if origin == kubelet.Nowhere {
		return cpuset.Set{}, false
	}
	return reservedBy(config, f, manager)
}

// reservedBy are the CPUs that a kubelet with that configuration keeps. An amount becomes CPUs by the static
// policy's own allocator; policy none makes nothing of it.
func reservedBy(config kubelet.Config, f Facts, manager v1alpha1.CPUManager) (cpus cpuset.Set, known bool) {
	if !config.ReservedCPUs.IsEmpty() || config.ReservedCount == 0 || manager.Policy == kubeletcpu.CPUManagerNone {
		return config.ReservedCPUs, true
	}
	model, err := kubeletcpu.ParseCPUManager(manager.Policy, manager.Options)
	if err != nil || manager.Policy == "" || !f.Host.Known {
		return cpuset.Set{}, false
	}
	cpus, err = kubeletcpu.ReservedByCount(f.Host.Value, model, minor(f.KubeletVersion), config.ReservedCount)
	return cpus, err == nil // a kubelet that cannot reserve them does not run
}

// minor is 36 for "v1.36.3", and 0 where that is not known: then the report is not exact, whatever it says.
func minor(kubeletVersion string) int {
	v, err := version.ParseGeneric(kubeletVersion)
	if err != nil {
		return 0
	}
	return int(v.Minor())
}

// sameMeaning tells whether two reports say the same, whatever their generation and the order of their
// lists.
func sameMeaning(a, b v1alpha1.NodeCPUStatus) bool {
	return equality.Semantic.DeepEqual(normalized(a), normalized(b))
}

func normalized(s v1alpha1.NodeCPUStatus) *v1alpha1.NodeCPUStatus {
	n := s.DeepCopy()
	n.Generation = 0
	slices.SortFunc(n.NUMANodes, func(a, b v1alpha1.NUMANode) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(n.Cores, func(a, b v1alpha1.Core) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(n.Granted, func(a, b v1alpha1.PodGrant) int { return cmp.Compare(a.PodUID, b.PodUID) })
	for _, pod := range n.Granted {
		slices.SortFunc(pod.Containers, func(a, b v1alpha1.ContainerGrant) int { return cmp.Compare(a.Name, b.Name) })
	}
	normalizeMemory(&n.MemoryManager)
	slices.SortFunc(n.Conditions, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	return n
}
