// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"

	"corepin.dev/corepin/agent/exclusive"
	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
)

// Facts are everything that a report is made from.
type Facts struct {
	// Agent is the pod that this agent runs in; nil where it runs in none.
	Agent   *v1alpha1.AgentPod
	Kubelet kubelet.State
	Host    source.Reading[*cputopology.Topology]
	// Memory is the machine's memory by NUMA node. The memory manager compares it with its state when it starts.
	Memory source.Reading[map[int32]hostcpu.NodeMemory]
	// Tuning are the machine's settings that decide about latency; nil where they are not known.
	Tuning map[string]string
	// KubeletVersion is the Node's; empty where the Node does not have it yet.
	KubeletVersion string
	// Node is the agent's Node. Its labels and taints decide whether a kubelet that starts admits the pods that run; nil is a
	// Node without any. In its status the kubelet says how many devices there are, and how many of them are healthy.
	Node *corev1.Node
	// BootID is the Node's; empty where the Node does not have it.
	BootID string
	// Pods are the node's pods at the API server. Their requests decide what a restart of the kubelet does to them.
	// PodsUnlisted reports whether they are not listed yet.
	Pods         []*corev1.Pod
	PodsUnlisted bool
	// Labelled is the condition of the node's labels; nil where nothing is known yet.
	Labelled *metav1.Condition
	// Drifted is the condition of the guests' pins; nil where nothing is known yet.
	Drifted *metav1.Condition
	// Exclusive is the condition of who may run on the guests' CPUs; nil where nothing is known.
	Exclusive *metav1.Condition
	// PodCPUs are the CPUs that pods can use by the cgroups above them.
	PodCPUs exclusive.PodCPUs
	// Pins are the pins of the node's guests, by pod; nil where nothing is known yet.
	Pins map[types.UID]string
	// Waits are the vCPUs of the node's guests that wait for a CPU, by pod.
	Waits map[types.UID]string
	// SharedWith are the containers that may run on the CPUs of the node's guests too, by pod.
	SharedWith map[types.UID]string
}

// Resolved is what the facts come to. Each question is answered here, once: build and the conditions only write
// the answers down.
type Resolved struct {
	Facts
	// KubeletVersion and Minor are the kubelet's. Where the Node does not have the version, the last report does.
	// Minor is 36 for "v1.36.3", and 0 where it is not known: then the report is not exact.
	KubeletVersion string
	Minor          int
	// Config is what the kubelet runs with, and Origin how that is known.
	Config kubelet.Config
	Origin kubelet.Origin
	// Next is what the kubelet will run with after its next start. ConfigChanged reports whether somebody has
	// changed the configuration since the kubelet started.
	Next          kubelet.Config
	ConfigChanged bool
	// CPUManager is the policy of the state file with the options of the configuration. What is not known is
	// as last reported.
	CPUManager v1alpha1.CPUManager
	// PodLevelResourceManagers reports whether the kubelet grants CPUs to whole pods; nil where it is not known.
	PodLevelResourceManagers *bool
	// Reserved are the CPUs that the kubelet does not grant; nil where they are not known.
	Reserved *cpuset.Set
	// ReservedByConfig and ReservedByNext are the reserved CPUs that Config and Next come to; nil where that is
	// not known.
	ReservedByConfig *cpuset.Set
	ReservedByNext   *cpuset.Set
}

// resolve answers what the facts come to, over the last report.
func resolve(f Facts, last *v1alpha1.NodeCPUStatus) *Resolved {
	r := &Resolved{
		Facts:          f,
		KubeletVersion: cmp.Or(f.KubeletVersion, last.KubeletVersion),
		CPUManager:     last.CPUManager,
	}
	r.Minor = minor(r.KubeletVersion)
	r.Config, r.Origin = f.Kubelet.Config()
	r.Next, r.ConfigChanged = f.Kubelet.Next()
	checkpoint := f.Kubelet.Checkpoint
	if checkpoint.Known {
		r.CPUManager.Policy = checkpoint.Value.Policy
	}
	if r.Origin == kubelet.Nowhere {
		r.Reserved = r.notAllocatable()
		return r
	}
	r.CPUManager.Options = r.Config.CPUManagerOptions
	// Only a kubelet with the feature gate on grants CPUs to whole pods, whatever its configuration file shows.
	podLevel := r.Config.PodLevelResourceManagers(r.Minor) || len(checkpoint.Value.Pods) > 0
	r.PodLevelResourceManagers = &podLevel
	r.ReservedByConfig = r.reservedBy(r.Config)
	r.ReservedByNext = r.reservedBy(r.Next)
	r.Reserved = cmp.Or(r.notAllocatable(), r.ReservedByConfig)
	return r
}

// notAllocatable are the CPUs that the kubelet says it may not grant; nil where it did not say.
func (r *Resolved) notAllocatable() *cpuset.Set {
	allocatable := r.Kubelet.Allocatable
	if !allocatable.Known || !r.Host.Known || r.CPUManager.Policy != cpumanager.PolicyStatic || allocatable.Value.IsEmpty() {
		return nil
	}
	cpus := r.Host.Value.CPUs().Minus(allocatable.Value)
	return &cpus
}

// reservedBy are the CPUs that a kubelet with that configuration keeps for the system; nil where that is not known.
// An amount becomes CPUs by the static policy's own allocator. Policy none makes nothing of an amount.
func (r *Resolved) reservedBy(config kubelet.Config) *cpuset.Set {
	if !config.ReservedCPUs.IsEmpty() || config.ReservedCount == 0 || r.CPUManager.Policy == cpumanager.PolicyNone {
		return &config.ReservedCPUs
	}
	model, err := cpumanager.Parse(r.CPUManager.Policy, config.CPUManagerOptions)
	if err != nil || r.CPUManager.Policy == "" || !r.Host.Known {
		return nil
	}
	cpus, err := cpumanager.ReservedByCount(r.Host.Value, model, r.Minor, config.ReservedCount)
	if err != nil {
		return nil // a kubelet that cannot reserve them does not run
	}
	return &cpus
}

// static reports whether the kubelet's CPU manager runs with policy static.
func (r *Resolved) static() bool { return r.CPUManager.Policy == cpumanager.PolicyStatic }

// minor is 36 for "v1.36.3", and 0 for what is no version.
func minor(kubeletVersion string) int {
	v, err := version.ParseGeneric(kubeletVersion)
	if err != nil {
		return 0
	}
	return int(v.Minor())
}
