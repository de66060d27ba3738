// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/cpuset"
)

// State is what was read of the kubelet. It is immutable: whoever holds one may read it without a lock,
// and must not change what it points to.
type State struct {
	// Checkpoint is cpu_manager_state.
	Checkpoint source.Reading[Checkpoint]
	// Memory is memory_manager_state.
	Memory source.Reading[Memory]
	// File is the kubelet's configuration file: what it will run with, unless flags or drop-in files say
	// otherwise.
	File source.Reading[Config]
	// Modified is when the file was last changed; zero where that is not known.
	Modified time.Time
	// Started is when the kubelet started, by the age of its podresources socket; zero where that is not
	// known.
	Started time.Time
	// Watched is true where the kernel notifies of changes of the files; otherwise they are seen when the files are read
	// again.
	Watched source.Reading[bool]
	// Configz is what the kubelet says itself that it runs with.
	Configz source.Reading[Config]
	// Allocatable are the CPUs that the kubelet may grant, granted ones included, as it says itself;
	// empty where its CPU manager does not run with policy static.
	Allocatable source.Reading[cpuset.Set]
	// Served are the healthy devices of each resource that device plugins serve, as the kubelet says itself, sorted by id;
	// none for a resource of which no device has a NUMA node.
	Served source.Reading[map[string][]Device]
	// Devices is the device manager's checkpoint. A kubelet that never had a plugin has none, which is an empty one.
	Devices source.Reading[Devices]
}

// Asked reports whether the kubelet was asked at all, with or without success.
func (s *State) Asked() bool { return s.Configz.Known || s.Configz.Err != nil }

// Origin says where a configuration comes from.
type Origin string

// Origins.
const (
	// Nowhere: nothing is known.
	Nowhere Origin = ""
	// FromKubelet: the kubelet said so, now.
	FromKubelet Origin = "kubelet"
	// FromKubeletEarlier: the kubelet said so, and cannot be asked now; its configuration file says the
	// same.
	FromKubeletEarlier Origin = "kubelet, earlier"
	// FromFile: its configuration file says so, and the kubelet could never be asked.
	FromFile Origin = "file"
	// Outdated: the last that is known of it. It may be something else by now.
	Outdated Origin = "outdated"
)

// Config is the configuration that the kubelet runs with, and how that is known.
func (s *State) Config() (Config, Origin) {
	fileSpeaks := s.File.Known && s.File.Err == nil
	switch {
	case s.Configz.Known && s.Configz.Err == nil:
		return s.Configz.Value, FromKubelet
	case s.Configz.Known && fileSpeaks && s.File.Value.sameDecisions(s.Configz.Value):
		return s.Configz.Value, FromKubeletEarlier
	case s.Configz.Known:
		return s.Configz.Value, Outdated
	case fileSpeaks:
		return s.File.Value, FromFile
	case s.File.Known:
		return s.File.Value, Outdated
	default:
		return Config{}, Nowhere
	}
}

// Checkpoint is what cpu_manager_state says.
type Checkpoint struct {
	// Policy is the policy that the CPU manager runs with: static or none.
	Policy string
	// Shared is the shared pool (defaultCpuSet); empty under policy none.
	Shared cpuset.Set
	// Granted are the exclusive CPUs, by pod and container. A container that has ended may stand here
	// until the kubelet next looks, 10 s at most.
	Granted map[types.UID]map[string]cpuset.Set
	// Pods are the CPUs that pods with pod-level resources were granted as a whole, which a kubelet does only with
	// its feature gate PodLevelResourceManagers on. Granted has the parts of these that their containers have,
	// and containers of one pod may share a part.
	Pods map[types.UID]cpuset.Set
}

// all are the CPUs of which the state says whose they are.
func (c *Checkpoint) all() cpuset.Set {
	all := c.Shared
	for _, containers := range c.Granted {
		for _, cpus := range containers {
			all = all.Union(cpus)
		}
	}
	for _, cpus := range c.Pods {
		all = all.Union(cpus)
	}
	return all
}

// Config is a kubelet's configuration, with the kubelet's defaults.
type Config struct {
	CPUManagerPolicy       string
	CPUManagerOptions      map[string]string
	TopologyManagerPolicy  string
	TopologyManagerScope   string
	TopologyManagerOptions map[string]string
	MemoryManagerPolicy    string
	// Gates are the feature gates of gatesRead, as far as they are set.
	Gates map[string]bool
	// ReservedCPUs are reservedSystemCPUs; empty where only an amount is reserved.
	ReservedCPUs cpuset.Set
	// ReservedCount is the number of CPUs that kubeReserved and systemReserved come to, rounded up. It
	// counts only where ReservedCPUs is empty.
	ReservedCount int
	// ReconcilePeriod is how often the kubelet writes the cpusets of containers again.
	ReconcilePeriod time.Duration
	// CertFile is tlsCertFile: the certificate that the kubelet serves with; empty where it makes its own.
	CertFile string
	// Reserved decides only whether the kubelet starts.
	Reserved Reserved
}

// sameDecisions reports whether a kubelet decides the same about CPUs with either configuration.
func (c Config) sameDecisions(other Config) bool {
	for _, config := range []*Config{&c, &other} {
		config.CertFile = ""
		config.ReconcilePeriod = 0
		config.Reserved = Reserved{}
	}
	for _, options := range []*map[string]string{
		&c.CPUManagerOptions, &c.TopologyManagerOptions, &other.CPUManagerOptions, &other.TopologyManagerOptions,
	} {
		if len(*options) == 0 {
			*options = nil
		}
	}
	// By both meanings that AllAlpha and AllBeta can have.
	for _, minor := range []int{alphaMinor, alphaMinor + 1} {
		if c.PodLevelResourceManagers(minor) != other.PodLevelResourceManagers(minor) {
			return false
		}
	}
	c.Gates = nil
	other.Gates = nil
	return reflect.DeepEqual(c, other)
}

// sameStart reports whether a kubelet starts with either configuration, or with neither, and decides the same.
func (c Config) sameStart(other Config) bool {
	return c.sameDecisions(other) && c.AlphaOptions() == other.AlphaOptions() && c.BetaOptions() == other.BetaOptions() &&
		equality.Semantic.DeepEqual(c.Reserved, other.Reserved)
}

// Next is the configuration that the kubelet will have when it starts again, as far as its configuration file shows.
// Changed reports whether it differs from the present one. A file that differs but was there before the kubelet started
// is no change: flags or drop-in files are above it, and will be again.
func (s *State) Next() (next Config, changed bool) {
	running, origin := s.Config()
	if origin == FromKubelet && s.File.Known && s.File.Err == nil && s.FileIsNewer() && !s.File.Value.sameStart(running) {
		return s.File.Value, true
	}
	return running, origin == FromFile && s.FileIsNewer()
}

// FileIsNewer reports whether the configuration file was changed after the kubelet started, as far as that is
// known.
func (s *State) FileIsNewer() bool {
	return !s.Started.IsZero() && s.Modified.After(s.Started)
}

// Granted are the exclusive CPUs of each container by pod, as last read; nil before the first good read.
// current reports whether they are the latest word: the latest read did not fail.
func (s *State) Granted() (granted map[types.UID]map[string]cpuset.Set, current bool) {
	return s.Checkpoint.Value.Granted, s.Checkpoint.Known && s.Checkpoint.Err == nil
}
