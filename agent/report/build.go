package report

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	if config := f.Kubelet.Config; config.Known {
		s.CPUManager.Options = config.Value.CPUManagerOptions
		s.TopologyManager = v1alpha1.TopologyManager{
			Policy: config.Value.TopologyManagerPolicy, Scope: config.Value.TopologyManagerScope, Options: config.Value.TopologyManagerOptions,
		}
		s.MemoryManager = v1alpha1.MemoryManager{Policy: config.Value.MemoryManagerPolicy}
	}
	if checkpoint := f.Kubelet.Checkpoint; checkpoint.Known {
		s.CPUManager.Policy = checkpoint.Value.Policy
		s.SharedCPUs = checkpoint.Value.Shared.String()
		nodereport.SetGranted(&s, checkpoint.Value.Granted)
	}
	if cpus, known := reserved(f, s.CPUManager); known {
		s.ReservedCPUs = cpus.String()
	}
	nodereport.Summarize(&s)
	setConditions(&s, f, metav1.NewTime(now).Rfc3339Copy())
	return s
}

// reserved are the CPUs that the kubelet keeps for the system. An amount becomes CPUs by the static
// policy's own allocator; policy none makes nothing of it.
func reserved(f Facts, manager v1alpha1.CPUManager) (cpus cpuset.Set, known bool) {
	config := f.Kubelet.Config
	if !config.Known {
		return cpuset.Set{}, false
	}
	if !config.Value.ReservedCPUs.IsEmpty() || config.Value.ReservedCount == 0 || manager.Policy == kubeletcpu.CPUManagerNone {
		return config.Value.ReservedCPUs, true
	}
	model, err := kubeletcpu.ParseCPUManager(manager.Policy, manager.Options)
	if err != nil || manager.Policy == "" || !f.Host.Known {
		return cpuset.Set{}, false
	}
	return kubeletcpu.ReservedByCount(f.Host.Value, model, minor(f.KubeletVersion), config.Value.ReservedCount), true
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
	slices.SortFunc(n.Conditions, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	return n
}
