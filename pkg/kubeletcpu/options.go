package kubeletcpu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Policies of the CPU manager.
const (
	CPUManagerNone   = "none"
	CPUManagerStatic = "static"
)

// Policies and scopes of the topology manager.
const (
	TopologyNone           = "none"
	TopologyBestEffort     = "best-effort"
	TopologyRestricted     = "restricted"
	TopologySingleNUMANode = "single-numa-node"

	ScopeContainer = "container"
	ScopePod       = "pod"
)

// defaultMaxNUMANodes is how many NUMA nodes a kubelet accepts under any topology manager policy but
// none (pkg/kubelet/cm/topologymanager/topology_manager.go, v1.36.3); the option
// max-allowable-numa-nodes can only raise it.
const defaultMaxNUMANodes = 8

// CPUManager is the configuration of the kubelet's CPU manager.
type CPUManager struct {
	Policy  string // CPUManagerNone or CPUManagerStatic
	Options CPUManagerOptions
}

// CPUManagerOptions are the options of the policy static, by their names in the kubelet's
// configuration.
type CPUManagerOptions struct {
	FullPCPUsOnly                bool // full-pcpus-only
	StrictCPUReservation         bool // strict-cpu-reservation
	DistributeCPUsAcrossNUMA     bool // distribute-cpus-across-numa
	DistributeCPUsAcrossCores    bool // distribute-cpus-across-cores
	AlignBySocket                bool // align-by-socket
	PreferAlignCPUsByUncoreCache bool // prefer-align-cpus-by-uncorecache
	// Unknown are set options that this package does not know, joined by commas: Inexact names them.
	Unknown string
}

func (o *CPUManagerOptions) byName(name string) *bool {
	switch name {
	case "full-pcpus-only":
		return &o.FullPCPUsOnly
	case "strict-cpu-reservation":
		return &o.StrictCPUReservation
	case "distribute-cpus-across-numa":
		return &o.DistributeCPUsAcrossNUMA
	case "distribute-cpus-across-cores":
		return &o.DistributeCPUsAcrossCores
	case "align-by-socket":
		return &o.AlignBySocket
	case "prefer-align-cpus-by-uncorecache":
		return &o.PreferAlignCPUsByUncoreCache
	}
	return nil
}

// cpuManagerOptionNames are all known options, in the order in which they are printed.
var cpuManagerOptionNames = []string{"full-pcpus-only", "strict-cpu-reservation", "distribute-cpus-across-numa",
	"distribute-cpus-across-cores", "align-by-socket", "prefer-align-cpus-by-uncorecache"}

// refusedTogether are options with which no kubelet starts
// (pkg/kubelet/cm/cpumanager/policy_options.go, v1.36.3).
var refusedTogether = [][2]string{
	{"full-pcpus-only", "distribute-cpus-across-cores"},
	{"distribute-cpus-across-numa", "distribute-cpus-across-cores"},
	{"prefer-align-cpus-by-uncorecache", "distribute-cpus-across-cores"},
	{"prefer-align-cpus-by-uncorecache", "distribute-cpus-across-numa"},
}

// ParseCPUManager reads cpuManagerPolicy ("" is none, the kubelet's default) and
// cpuManagerPolicyOptions of a kubelet's configuration. It refuses what a kubelet would not start
// with. An option with an unknown name is not an error: newer kubelets have options that we do not
// know, and Inexact then says so.
func ParseCPUManager(policy string, options map[string]string) (CPUManager, error) {
	cm := CPUManager{Policy: policy}
	switch policy {
	case "", CPUManagerNone:
		cm.Policy = CPUManagerNone
		if len(options) > 0 {
			return CPUManager{}, fmt.Errorf("CPU manager policy none takes no options, but has %s", strings.Join(sortedKeys(options), ", "))
		}
		return cm, nil
	case CPUManagerStatic:
	default:
		return CPUManager{}, fmt.Errorf("CPU manager policy %q is neither static nor none", policy)
	}
	var unknown []string
	for _, name := range sortedKeys(options) {
		field := cm.Options.byName(name)
		if field == nil {
			unknown = append(unknown, name)
			continue
		}
		on, err := strconv.ParseBool(options[name])
		if err != nil {
			return CPUManager{}, fmt.Errorf("CPU manager option %s: %q is neither true nor false", name, options[name])
		}
		*field = on
	}
	cm.Options.Unknown = strings.Join(unknown, ",")
	for _, pair := range refusedTogether {
		if *cm.Options.byName(pair[0]) && *cm.Options.byName(pair[1]) {
			return CPUManager{}, fmt.Errorf("CPU manager options %s and %s exclude each other", pair[0], pair[1])
		}
	}
	return cm, nil
}

// String gives the policy and its options: "static full-pcpus-only".
func (c CPUManager) String() string {
	words := []string{c.Policy}
	for _, name := range cpuManagerOptionNames {
		if *c.Options.byName(name) {
			words = append(words, name)
		}
	}
	if c.Options.Unknown != "" {
		words = append(words, c.Options.Unknown)
	}
	return strings.Join(words, " ")
}

// TopologyManager is the configuration of the kubelet's topology manager.
type TopologyManager struct {
	Policy string // TopologyNone, TopologyBestEffort, TopologyRestricted or TopologySingleNUMANode
	Scope  string // ScopeContainer or ScopePod
	// PreferClosestNUMANodes is the option prefer-closest-numa-nodes.
	PreferClosestNUMANodes bool
	// MaxAllowableNUMANodes is the option max-allowable-numa-nodes; 0 is the kubelet's default, 8.
	MaxAllowableNUMANodes int
	// Unknown are set options that this package does not know, joined by commas: Inexact names them.
	Unknown string
}

// ParseTopologyManager reads topologyManagerPolicy ("" is none), topologyManagerScope ("" is
// container) and topologyManagerPolicyOptions of a kubelet's configuration; the rules are those of
// ParseCPUManager. A kubelet with policy none ignores the options, and so does this.
func ParseTopologyManager(policy, scope string, options map[string]string) (TopologyManager, error) {
	if policy == "" {
		policy = TopologyNone
	}
	if scope == "" {
		scope = ScopeContainer
	}
	tm := TopologyManager{Policy: policy, Scope: scope}
	if !slices.Contains([]string{TopologyNone, TopologyBestEffort, TopologyRestricted, TopologySingleNUMANode}, policy) {
		return TopologyManager{}, fmt.Errorf("topology manager policy %q is not one of none, best-effort, restricted, single-numa-node", policy)
	}
	if scope != ScopeContainer && scope != ScopePod {
		return TopologyManager{}, fmt.Errorf("topology manager scope %q is neither container nor pod", scope)
	}
	if policy == TopologyNone {
		return tm, nil
	}
	var unknown []string
	var err error
	for _, name := range sortedKeys(options) {
		switch value := options[name]; name {
		case "prefer-closest-numa-nodes":
			if tm.PreferClosestNUMANodes, err = strconv.ParseBool(value); err != nil {
				return TopologyManager{}, fmt.Errorf("topology manager option %s: %q is neither true nor false", name, value)
			}
		case "max-allowable-numa-nodes":
			if tm.MaxAllowableNUMANodes, err = strconv.Atoi(value); err != nil || tm.MaxAllowableNUMANodes < defaultMaxNUMANodes {
				return TopologyManager{}, fmt.Errorf("topology manager option %s: %q is not a number from %d up", name, value, defaultMaxNUMANodes)
			}
		default:
			unknown = append(unknown, name)
		}
	}
	tm.Unknown = strings.Join(unknown, ",")
	return tm, nil
}

// String gives the policy, its scope and options: "restricted/pod prefer-closest-numa-nodes".
func (t TopologyManager) String() string {
	if t.Policy == TopologyNone {
		return t.Policy
	}
	text := t.Policy + "/" + t.Scope
	if t.PreferClosestNUMANodes {
		text += " prefer-closest-numa-nodes"
	}
	if t.MaxAllowableNUMANodes != 0 {
		text += fmt.Sprintf(" max-allowable-numa-nodes=%d", t.MaxAllowableNUMANodes)
	}
	if t.Unknown != "" {
		text += " " + t.Unknown
	}
	return text
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
