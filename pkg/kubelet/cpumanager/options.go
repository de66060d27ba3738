// SPDX-License-Identifier: Apache-2.0

package cpumanager

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The policies.
const (
	PolicyNone   = "none"
	PolicyStatic = "static"
)

// Config is the CPU manager's part of a kubelet's configuration.
type Config struct {
	Policy  string // PolicyNone or PolicyStatic
	Options Options
}

// Options are the options of the policy static, with their names in the kubelet's configuration.
type Options struct {
	FullPCPUsOnly                bool // full-pcpus-only
	StrictCPUReservation         bool // strict-cpu-reservation
	DistributeCPUsAcrossNUMA     bool // distribute-cpus-across-numa
	DistributeCPUsAcrossCores    bool // distribute-cpus-across-cores
	AlignBySocket                bool // align-by-socket
	PreferAlignCPUsByUncoreCache bool // prefer-align-cpus-by-uncorecache
	// Unknown are set options that this package does not know, joined by commas.
	Unknown string
}

func (o *Options) byName(name string) *bool {
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

// optionNames are all known options, in the order in which they are printed.
var optionNames = []string{"full-pcpus-only", "strict-cpu-reservation", "distribute-cpus-across-numa",
	"distribute-cpus-across-cores", "align-by-socket", "prefer-align-cpus-by-uncorecache"}

// refusedTogether are pairs of options with which no kubelet starts (policy_options.go, v1.36.3).
var refusedTogether = [][2]string{
	{"full-pcpus-only", "distribute-cpus-across-cores"},
	{"distribute-cpus-across-numa", "distribute-cpus-across-cores"},
	{"prefer-align-cpus-by-uncorecache", "distribute-cpus-across-cores"},
	{"prefer-align-cpus-by-uncorecache", "distribute-cpus-across-numa"},
}

// Parse reads cpuManagerPolicy ("" is none, the kubelet's default) and cpuManagerPolicyOptions of a kubelet's
// configuration. It returns an error for what a kubelet would not start with. An option with an unknown name is no
// error, since newer kubelets have more options: see Options.Unknown.
func Parse(policy string, options map[string]string) (Config, error) {
	c := Config{Policy: policy}
	switch policy {
	case "", PolicyNone:
		c.Policy = PolicyNone
		if len(options) > 0 {
			return Config{}, fmt.Errorf("CPU manager policy none takes no options, but has %s", strings.Join(slices.Sorted(maps.Keys(options)), ", "))
		}
		return c, nil
	case PolicyStatic:
	default:
		return Config{}, fmt.Errorf("CPU manager policy %q is neither static nor none", policy)
	}
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(options)) {
		field := c.Options.byName(name)
		if field == nil {
			unknown = append(unknown, name)
			continue
		}
		on, err := strconv.ParseBool(options[name])
		if err != nil {
			return Config{}, fmt.Errorf("CPU manager option %s: %q is neither true nor false", name, options[name])
		}
		*field = on
	}
	c.Options.Unknown = strings.Join(unknown, ",")
	for _, pair := range refusedTogether {
		if *c.Options.byName(pair[0]) && *c.Options.byName(pair[1]) {
			return Config{}, fmt.Errorf("CPU manager options %s and %s exclude each other", pair[0], pair[1])
		}
	}
	return c, nil
}

// String gives the policy and its options: "static full-pcpus-only".
func (c Config) String() string {
	words := []string{c.Policy}
	for _, name := range optionNames {
		if *c.Options.byName(name) {
			words = append(words, name)
		}
	}
	if c.Options.Unknown != "" {
		words = append(words, c.Options.Unknown)
	}
	return strings.Join(words, " ")
}
