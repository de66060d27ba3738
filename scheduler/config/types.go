// SPDX-License-Identifier: Apache-2.0

package config

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/vmi"
)

// APIVersion and Kind are the values that args must have.
const (
	APIVersion = "scheduler.corepin.dev/v1alpha1"
	Kind       = "DedicatedCPUArgs"
)

// MaxScoreRange is the largest ScoreRange. With it and the shipped weight, the worst exact node still wins over every
// node that is only estimated.
const MaxScoreRange = scoring.MaxRange

// DedicatedCPUArgs are the arguments of plugin DedicatedCPU.
type DedicatedCPUArgs struct {
	metav1.TypeMeta `json:",inline"`

	// ScoringStrategy says which of the nodes that can take a VM is preferred.
	// Default: LeastFragmentation.
	ScoringStrategy ScoringStrategy `json:"scoringStrategy,omitempty"`

	// ScoreRange is by how many points of score two nodes may differ whose kubelets are predicted exactly: 1 to 40. The
	// best of them gets 100, the worst 100-scoreRange. The plugin's weight times this range is how much the scoring
	// strategy counts. Below 200 a preference of the user that is met on one node only wins over the strategy: affinity,
	// soft topology spread, a PreferNoSchedule taint. With a larger range the strategy can win; package scoring has a
	// table. Default: 5, which is 130 with the shipped weight of 26.
	ScoreRange int `json:"scoreRange,omitempty"`

	// NodesWithoutExactReport says whether a VM may go to a node whose kubelet cannot be predicted exactly. Such a
	// node has no report, one that cannot be read, or one that is not exact. Default: Estimate.
	NodesWithoutExactReport UnknownNodePolicy `json:"nodesWithoutExactReport,omitempty"`

	// CPUManagerNodes says whether a VM needs a node that has the label cpumanager=true or
	// kubevirt.io/cpumanager=true. Default: Required.
	CPUManagerNodes LabelPolicy `json:"cpuManagerNodes,omitempty"`

	// Strictness says which VMs are refused. Standard refuses what KubeVirt refuses and what could never run with
	// exclusive CPUs. Strict also refuses sidecars that take exclusive CPUs. KubeVirt refuses only what KubeVirt itself
	// refuses. A VM that would run is never refused here by Standard or KubeVirt. kubectl-corepin check and the
	// policy in manifests/admission have the same three. Default: Standard.
	Strictness vmi.Strictness `json:"strictness,omitempty"`

	// SilentAfter is for how long the pod of a node's agent is unready before the node is silent: estimated instead of
	// predicted, and said so in its report and on its Node: 1s to 10m. Package heard says how long it takes until a pod
	// is unready. Where profiles differ, the first one's value holds. Default: 15s.
	SilentAfter metav1.Duration `json:"silentAfter,omitempty"`

	// RestartSafety says whether a VM may come to a node whose kubelet, when it is started again, would fail VMs that run. That
	// is so for a kubelet up to 1.36 with full-pcpus-only whose free CPUs are fewer than one of the VMs has. Default: Ignore.
	RestartSafety RestartSafety `json:"restartSafety,omitempty"`

	// OtherPods says how pods of no VM are treated that ask for exclusive CPUs: Guaranteed pods with a whole number of
	// CPUs. Default: Predict.
	OtherPods OtherPodsPolicy `json:"otherPods,omitempty"`

	// Search says among which nodes the best one for a VM is searched, in a cluster of more than 100 nodes. Default: AllNodes.
	Search SearchPolicy `json:"search,omitempty"`

	// NodePoolLabel is the label of nodes by whose values the metrics corepin_placeable_vms and corepin_stranded_cpus are
	// counted. At most 20 pools have series of their own. "" counts all nodes as one pool. Where profiles differ, the first
	// one's value holds. Default: "".
	NodePoolLabel string `json:"nodePoolLabel,omitempty"`
}

// ScoringStrategy says which of the nodes that can take a VM is preferred.
type ScoringStrategy = scoring.Strategy

// The strategies: see package scoring.
const (
	LeastFragmentation = scoring.LeastFragmentation
	MostFree           = scoring.MostFree
	MostAllocated      = scoring.MostAllocated
)

// UnknownNodePolicy says whether a VM may go to a node that cannot be predicted exactly.
type UnknownNodePolicy string

const (
	// Refuse never binds a VM to such a node.
	Refuse UnknownNodePolicy = "Refuse"
	// Estimate compares counts: the node's allocatable CPUs that no pod requests, against the CPUs of the VM and its
	// sidecars. The node scores below every node that is predicted exactly. The kubelet may still refuse the VM, and
	// an event on the VM's pod says so when it is bound.
	Estimate UnknownNodePolicy = "Estimate"
)

// LabelPolicy says whether the label cpumanager=true is needed.
type LabelPolicy string

const (
	// Required never binds a VM to a node without the label.
	Required LabelPolicy = "Required"
	// Preferred accepts a node without the label if no labelled node is predicted exactly to take the VM. (Launcher
	// pods made by KubeVirt select the label themselves.)
	Preferred LabelPolicy = "Preferred"
)

// RestartSafety says whether a VM may come to a node whose kubelet could not be started again without losing VMs.
type RestartSafety string

const (
	// RestartIgnore does not look at it. Every node can be filled.
	RestartIgnore RestartSafety = "Ignore"
	// RestartPrefer prefers nodes that stay safe with the VM. It is one voice of the score, like the scoring strategy.
	RestartPrefer RestartSafety = "Prefer"
	// RestartRequire never binds a VM to a node that would not stay safe. So kubelets can be upgraded node by node without
	// losing a VM. It costs up to half of the CPUs of each node with such a kubelet: what its largest VM has stays free.
	RestartRequire RestartSafety = "Require"
)

// OtherPodsPolicy says how pods of no VM are treated that ask for exclusive CPUs.
type OtherPodsPolicy string

const (
	// Predict refuses a node whose kubelet is predicted exactly to refuse the pod.
	Predict OtherPodsPolicy = "Predict"
	// Ignore leaves them to kube-scheduler's count of millicores, so the kubelet may refuse them. The CPUs that they
	// hold still count when a VM is placed.
	Ignore OtherPodsPolicy = "Ignore"
)

// SearchPolicy says among which nodes the best one for a VM is searched.
type SearchPolicy string

const (
	// AllNodes searches all nodes, and lets kube-scheduler choose among the best of them. Where a VM says more about its place than
	// can be judged beforehand, for example by affinity to other pods, kube-scheduler searches as with Sample.
	AllNodes SearchPolicy = "AllNodes"
	// Sample is kube-scheduler's own way: it stops when enough nodes are found that take the VM, a tenth of 5,000 nodes
	// (percentageOfNodesToScore).
	Sample SearchPolicy = "Sample"
)
