// SPDX-License-Identifier: Apache-2.0

package topologymanager

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"corepin.dev/corepin/pkg/cputopology"
)

// The policies and scopes.
const (
	PolicyNone           = "none"
	PolicyBestEffort     = "best-effort"
	PolicyRestricted     = "restricted"
	PolicySingleNUMANode = "single-numa-node"

	ScopeContainer = "container"
	ScopePod       = "pod"
)

// defaultMaxNUMANodes is how many NUMA nodes a kubelet accepts under any policy except none. The option
// max-allowable-numa-nodes can only raise it (topology_manager.go and policy_options.go, v1.36.3).
const defaultMaxNUMANodes = 8

// MaxHintNodes bounds the search over all sets of NUMA nodes that hints are made of, which grows as two to their number. The
// CPU manager makes no hints with NUMA nodes without CPUs, of which a machine with GPUs can have many.
const MaxHintNodes = 16

// Config is the topology manager's part of a kubelet's configuration.
type Config struct {
	Policy string // PolicyNone, PolicyBestEffort, PolicyRestricted or PolicySingleNUMANode
	Scope  string // ScopeContainer or ScopePod
	// PreferClosestNUMANodes is the option prefer-closest-numa-nodes.
	PreferClosestNUMANodes bool
	// MaxAllowableNUMANodes is the option max-allowable-numa-nodes; 0 is the kubelet's default, 8.
	MaxAllowableNUMANodes int
	// Unknown are set options that this package does not know, joined by commas.
	Unknown string
}

// Parse reads topologyManagerPolicy ("" is none), topologyManagerScope ("" is container) and
// topologyManagerPolicyOptions of a kubelet's configuration. It returns an error for what a kubelet would not start
// with. An option with an unknown name is no error, since newer kubelets have more options: see Config.Unknown.
// A kubelet with policy none ignores the options, and so does Parse.
func Parse(policy, scope string, options map[string]string) (Config, error) {
	if policy == "" {
		policy = PolicyNone
	}
	if scope == "" {
		scope = ScopeContainer
	}
	c := Config{Policy: policy, Scope: scope}
	if !slices.Contains([]string{PolicyNone, PolicyBestEffort, PolicyRestricted, PolicySingleNUMANode}, policy) {
		return Config{}, fmt.Errorf("topology manager policy %q is not one of none, best-effort, restricted, single-numa-node", policy)
	}
	if scope != ScopeContainer && scope != ScopePod {
		return Config{}, fmt.Errorf("topology manager scope %q is neither container nor pod", scope)
	}
	if policy == PolicyNone {
		return c, nil
	}
	var unknown []string
	var err error
	for _, name := range slices.Sorted(maps.Keys(options)) {
		value := options[name]
		switch name {
		case "prefer-closest-numa-nodes":
			if c.PreferClosestNUMANodes, err = strconv.ParseBool(value); err != nil {
				return Config{}, fmt.Errorf("topology manager option %s: %q is neither true nor false", name, value)
			}
		case "max-allowable-numa-nodes":
			c.MaxAllowableNUMANodes, err = strconv.Atoi(value)
			if err != nil || c.MaxAllowableNUMANodes < defaultMaxNUMANodes {
				return Config{}, fmt.Errorf("topology manager option %s: %q is not a number from %d up", name, value, defaultMaxNUMANodes)
			}
		default:
			unknown = append(unknown, name)
		}
	}
	c.Unknown = strings.Join(unknown, ",")
	return c, nil
}

// String gives the policy, its scope and options: "restricted/pod prefer-closest-numa-nodes".
func (c Config) String() string {
	if c.Policy == PolicyNone {
		return c.Policy
	}
	text := c.Policy + "/" + c.Scope
	if c.PreferClosestNUMANodes {
		text += " prefer-closest-numa-nodes"
	}
	if c.MaxAllowableNUMANodes != 0 {
		text += fmt.Sprintf(" max-allowable-numa-nodes=%d", c.MaxAllowableNUMANodes)
	}
	if c.Unknown != "" {
		text += " " + c.Unknown
	}
	return text
}

// Inexact says why the NUMA nodes that a kubelet chooses on the machine cannot be predicted, or "".
func (c *Config) Inexact(t *cputopology.Topology) string {
	if c.Policy == PolicyNone {
		return ""
	}
	nodes := t.NUMANodes()
	highest := nodes[len(nodes)-1].ID
	withCPUs := 0
	for i := range nodes {
		if !nodes[i].CPUs.IsEmpty() {
			withCPUs++
		}
	}
	switch {
	case c.Unknown != "":
		return "topology manager option " + c.Unknown + " is not known"
	case len(nodes) > max(c.MaxAllowableNUMANodes, defaultMaxNUMANodes):
		return fmt.Sprintf("a kubelet with topology manager policy %s does not start on a machine with %d NUMA nodes", c.Policy, len(nodes))
	case withCPUs > MaxHintNodes:
		return fmt.Sprintf("%d NUMA nodes with CPUs are more than the %d that are modelled", withCPUs, MaxHintNodes)
	case highest > 63:
		return fmt.Sprintf("NUMA node id %d is above 63, the kubelet's highest", highest)
	case !c.PreferClosestNUMANodes:
		return ""
	}
	for i := range nodes {
		if len(nodes[i].Distances) != len(nodes) {
			return "a kubelet with prefer-closest-numa-nodes does not start where the distances between NUMA nodes are unknown"
		}
	}
	return ""
}
