// Package config is the configuration of the scheduler plugin DedicatedCPU: what stands under
// pluginConfig[].args in a KubeSchedulerConfiguration.
//
//	pluginConfig:
//	- name: DedicatedCPU
//	  args:
//	    apiVersion: scheduler.corepin.dev/v1alpha1
//	    kind: DedicatedCPUArgs
//	    scoringStrategy: LeastFragmentation
//	    nodesWithoutExactReport: Estimate
//	    cpuManagerNodes: Required
//	    strictness: Strict
//	    otherPods: Predict
//
// Everything is optional; no args at all means all defaults. What is given is read strictly: a field
// that is unknown, misspelled or given twice, and another kind or version, are errors that stop the
// scheduler at its start. kube-scheduler itself would ignore them, since it hands the args of plugins it
// does not know over unread, and a typo would silently be a default.
//
// There is one version, and it is both what users write and what the plugin reads: without a second
// version there is nothing to convert.
package config

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/vmi"
)

// APIVersion and Kind are what args must carry.
const (
	APIVersion = "scheduler.corepin.dev/v1alpha1"
	Kind       = "DedicatedCPUArgs"
)

// DedicatedCPUArgs are the arguments of plugin DedicatedCPU.
type DedicatedCPUArgs struct {
	metav1.TypeMeta `json:",inline"`

	// ScoringStrategy says which of the nodes that can take a VM is preferred.
	// Default: LeastFragmentation.
	ScoringStrategy ScoringStrategy `json:"scoringStrategy,omitempty"`

	// NodesWithoutExactReport says what becomes of a VM on a node that has the label cpumanager=true but
	// whose kubelet cannot be predicted exactly: it has no report, one that cannot be read, or one that
	// says so itself. Default: Estimate.
	NodesWithoutExactReport UnknownNodePolicy `json:"nodesWithoutExactReport,omitempty"`

	// CPUManagerNodes says whether a VM needs a node that has the label cpumanager=true or
	// kubevirt.io/cpumanager=true. Default: Required.
	CPUManagerNodes LabelPolicy `json:"cpuManagerNodes,omitempty"`

	// Strictness says which VMs are refused: those that break a rule of corepin's (Strict), or only those that
	// KubeVirt itself refuses (KubeVirt). It is the strictness of kubectl-corepin check and of the policy in
	// manifests/admission. Default: Strict.
	Strictness vmi.Strictness `json:"strictness,omitempty"`

	// OtherPods says what becomes of pods that no VM is behind and that ask for exclusive CPUs all the same:
	// Guaranteed, with a whole number of CPUs. Default: Predict.
	OtherPods OtherPodsPolicy `json:"otherPods,omitempty"`
}

// ScoringStrategy prefers some of the nodes that can take a VM. What it compares is the node with the VM on
// it, after sidecars: CPUs that can still be granted, and millicores that can still be requested.
//
// Two machines of two NUMA nodes with four cores of two CPUs each; a core is "..", its CPUs free or taken
// ("#"). Both kubelets keep a VM in one NUMA node; that of node b grants whole cores only (full-pcpus-only),
// so that no VM with an odd number of CPUs can go there. A VM of 4 CPUs comes, then one of 2:
//
//	                    node a                      node b
//	LeastFragmentation  .. .. .. ..  .. .. .. ..    ## ## ## ..  .. .. .. ..
//	MostAllocated       ## ## ## ..  .. .. .. ..    .. .. .. ..  .. .. .. ..    or the other way round
//	MostFree            ## ## .. ..  .. .. .. ..    ## .. .. ..  .. .. .. ..    or the other way round
//
// Of VMs of 8 CPUs three can still come with LeastFragmentation and MostAllocated, and two with MostFree. Of VMs of
// odd size LeastFragmentation leaves as many as there could be; with the others that is luck.
type ScoringStrategy string

const (
	// LeastFragmentation prefers the node that loses least by the VM. What a node loses is, for each common size of
	// VM (1 to 64 CPUs), the CPUs of those VMs of that size that it could take before and cannot take after. So a VM
	// goes where its CPUs are of no use to others: one of even size onto a node that grants whole cores
	// only, a small one into a NUMA node that is not whole any more. Among equals, NUMA nodes, uncore caches and
	// cores that are free as a whole stay so.
	LeastFragmentation ScoringStrategy = "LeastFragmentation"
	// MostFree spreads: it prefers the node with the largest share of free exclusive CPUs left. VMs have the
	// fewest neighbours, and a node that fails takes the fewest VMs with it.
	MostFree ScoringStrategy = "MostFree"
	// MostAllocated packs: it prefers the node with the smallest share of free exclusive CPUs left, so that whole
	// nodes stay empty, to be drained or switched off.
	MostAllocated ScoringStrategy = "MostAllocated"
)

// UnknownNodePolicy says what becomes of a VM on a node that cannot be predicted exactly.
type UnknownNodePolicy string

const (
	// Refuse never binds a VM to such a node.
	Refuse UnknownNodePolicy = "Refuse"
	// Estimate judges by counts: the whole CPUs that are left of the node's allocatable ones, what sidecars ask
	// included. The node is scored below every node that is predicted exactly. The kubelet may then refuse the
	// VM, and the VM's pod gets an event that says so beforehand.
	Estimate UnknownNodePolicy = "Estimate"
)

// LabelPolicy says what the label cpumanager=true means.
type LabelPolicy string

const (
	// Required never binds a VM to a node without the label.
	Required LabelPolicy = "Required"
	// Preferred takes a node without the label too, where no labelled node can be predicted exactly to take the
	// VM. (The launcher pods that KubeVirt makes select the label themselves.)
	Preferred LabelPolicy = "Preferred"
)

// OtherPodsPolicy says what becomes of pods that ask for exclusive CPUs and that no VM is behind.
type OtherPodsPolicy string

const (
	// Predict holds them to the kubelet's decision wherever it can be predicted exactly.
	Predict OtherPodsPolicy = "Predict"
	// Ignore leaves them to kube-scheduler's count of millicores; the kubelet may then refuse them. What they
	// hold is counted all the same when a VM is placed.
	Ignore OtherPodsPolicy = "Ignore"
)

// Default fills what was left out.
func (a *DedicatedCPUArgs) Default() {
	a.APIVersion, a.Kind = APIVersion, Kind
	if a.ScoringStrategy == "" {
		a.ScoringStrategy = LeastFragmentation
	}
	if a.NodesWithoutExactReport == "" {
		a.NodesWithoutExactReport = Estimate
	}
	if a.CPUManagerNodes == "" {
		a.CPUManagerNodes = Required
	}
	if a.OtherPods == "" {
		a.OtherPods = Predict
	}
}
