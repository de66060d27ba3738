// Package config is the configuration of the scheduler plugin DedicatedCPU: what stands under
// pluginConfig[].args in a KubeSchedulerConfiguration.
//
//	pluginConfig:
//	- name: DedicatedCPU
//	  args:
//	    apiVersion: scheduler.corepin.dev/v1alpha1
//	    kind: DedicatedCPUArgs
//	    scoringStrategy: LeastFragmentation
//	    nodesWithoutExactReport: Refuse
//
// Everything is optional; no args at all means all defaults. What is given is read strictly: a field
// that is unknown, misspelled or given twice, and another kind or version, are errors that stop the
// scheduler at its start. kube-scheduler itself would ignore them, since it hands the args of plugins it
// does not know over unread, and a typo would silently be a default.
//
// There is one version, and it is both what users write and what the plugin reads: without a second
// version there is nothing to convert.
package config

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	// says so itself. Default: Refuse.
	NodesWithoutExactReport UnknownNodePolicy `json:"nodesWithoutExactReport,omitempty"`
}

// ScoringStrategy prefers some of the nodes that can take a VM. What it compares is the node after the
// VM. On two NUMA nodes of 8 CPUs each, where "#" is taken and "." free, a VM of 4 CPUs goes:
//
//	               node a             node b             node c
//	before         ........ ........  ####.... ........  ##...... ........
//	LeastFragmentation                ######## ........
//	MostFree       ####.... ........
type ScoringStrategy string

const (
	// LeastFragmentation is best fit: it prefers the node whose NUMA nodes have the fewest CPUs left
	// free where the VM is put, and where no core is split, so that whole NUMA nodes stay free for big VMs.
	LeastFragmentation ScoringStrategy = "LeastFragmentation"
	// MostFree spreads: it prefers the node with the largest share of free exclusive CPUs left.
	MostFree ScoringStrategy = "MostFree"
)

// UnknownNodePolicy says what becomes of a VM on a node that cannot be predicted exactly.
type UnknownNodePolicy string

const (
	// Refuse never binds a VM to such a node.
	Refuse UnknownNodePolicy = "Refuse"
	// Estimate leaves the judgement to kube-scheduler's count of millicores, and scores the node below
	// every node that is predicted exactly. The kubelet may then refuse the VM.
	Estimate UnknownNodePolicy = "Estimate"
)

// Default fills what was left out.
func (a *DedicatedCPUArgs) Default() {
	a.APIVersion, a.Kind = APIVersion, Kind
	if a.ScoringStrategy == "" {
		a.ScoringStrategy = LeastFragmentation
	}
	if a.NodesWithoutExactReport == "" {
		a.NodesWithoutExactReport = Refuse
	}
}
