// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	kubeletconfig "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/quantity"
)

// DefaultReconcilePeriod is the kubelet's own default.
const DefaultReconcilePeriod = 10 * time.Second

const kubeletConfigKind = "KubeletConfiguration"

// ParseConfig reads a KubeletConfiguration and fills in the kubelet's own defaults
// (pkg/kubelet/apis/config/v1beta1/defaults.go, v1.36.3) where they matter here. Fields it does not know
// are left alone: a newer kubelet has more of them, and the file is the kubelet's to judge.
func ParseConfig(data []byte) (Config, error) {
	var amounts struct {
		ReservedMemory json.RawMessage `json:"reservedMemory"`
	}
	if err := yaml.Unmarshal(data, &amounts); err != nil {
		return Config{}, err
	}
	if quantity.HasHugeExponent(amounts.ReservedMemory) {
		return Config{}, errors.New("reservedMemory has an amount whose exponent has more than two digits")
	}
	var file kubeletconfig.KubeletConfiguration
	if err := yaml.Unmarshal(data, &file); err != nil {
		return Config{}, err
	}
	if file.APIVersion != kubeletconfig.SchemeGroupVersion.String() || file.Kind != kubeletConfigKind {
		return Config{}, fmt.Errorf("this is apiVersion %.40q, kind %.40q, want a %s of %s; set kubeletConfigFile to the file that the kubelet is started with",
			file.APIVersion, file.Kind, kubeletConfigKind, kubeletconfig.SchemeGroupVersion)
	}
	return configOf(&file)
}

func configOf(file *kubeletconfig.KubeletConfiguration) (Config, error) {
	c := Config{
		CPUManagerPolicy:       or(file.CPUManagerPolicy, cpumanager.PolicyNone),
		CPUManagerOptions:      file.CPUManagerPolicyOptions,
		TopologyManagerPolicy:  or(file.TopologyManagerPolicy, kubeletconfig.NoneTopologyManagerPolicy),
		TopologyManagerScope:   or(file.TopologyManagerScope, kubeletconfig.ContainerTopologyManagerScope),
		TopologyManagerOptions: file.TopologyManagerPolicyOptions,
		MemoryManagerPolicy:    or(file.MemoryManagerPolicy, kubeletconfig.NoneMemoryManagerPolicy),
		Gates:                  gatesOf(file.FeatureGates),
		ReconcilePeriod:        file.CPUManagerReconcilePeriod.Duration,
		CertFile:               file.TLSCertFile,
	}
	if c.ReconcilePeriod <= 0 {
		c.ReconcilePeriod = DefaultReconcilePeriod
	}
	if err := c.parseReserved(file); err != nil {
		return c, err
	}
	var err error
	c.Reserved, err = reservedOf(file)
	return c, err
}

// The feature gates that decide here: the one, and those that stand for it where it is not set
// (k8s.io/component-base/featuregate, v0.36.3).
const (
	gatePodLevel = "PodLevelResourceManagers"
	gateAllAlpha = "AllAlpha"
	gateAllBeta  = "AllBeta"
	// Those of the CPU manager's options: alpha and off, beta and on, in all kubelets from 1.34 to 1.38.
	gateAlphaOptions = "CPUManagerPolicyAlphaOptions"
	gateBetaOptions  = "CPUManagerPolicyBetaOptions"
)

var gatesRead = []string{gatePodLevel, gateAllAlpha, gateAllBeta, gateAlphaOptions, gateBetaOptions}

// alphaMinor is the kubelet's version 1.36, where PodLevelResourceManagers came as alpha; it is beta, and off, in 1.37
// and 1.38 (pkg/features/kube_features.go, v1.36.3, v1.37.2 and v1.38.0-beta.0).
const alphaMinor = 36

func gatesOf(set map[string]bool) map[string]bool {
	var gates map[string]bool
	for _, name := range gatesRead {
		on, is := set[name]
		if is {
			if gates == nil {
				gates = map[string]bool{}
			}
			gates[name] = on
		}
	}
	return gates
}

// PodLevelResourceManagers reports whether that feature gate is on in a kubelet of version 1.<minor>.
func (c Config) PodLevelResourceManagers(minor int) bool {
	on, set := c.Gates[gatePodLevel]
	switch {
	case minor < alphaMinor:
		return false
	case set:
		return on
	case minor == alphaMinor:
		return c.Gates[gateAllAlpha]
	default:
		return c.Gates[gateAllBeta]
	}
}

// AlphaOptions reports whether the CPU manager's alpha options may be used.
func (c Config) AlphaOptions() bool {
	on, set := c.Gates[gateAlphaOptions]
	if set {
		return on
	}
	return c.Gates[gateAllAlpha]
}

// BetaOptions reports whether the CPU manager's beta options may be used.
func (c Config) BetaOptions() bool {
	if on, set := c.Gates[gateBetaOptions]; set {
		return on
	}
	on, set := c.Gates[gateAllBeta]
	return on || !set
}

// parseReserved follows the kubelet (cmd/kubelet/app/server.go and pkg/kubelet/cm/cpumanager/
// cpu_manager.go, v1.36.3): a list wins over amounts; amounts are added, then rounded up.
func (c *Config) parseReserved(file *kubeletconfig.KubeletConfiguration) error {
	var err error
	if c.ReservedCPUs, err = cpuset.Parse(file.ReservedSystemCPUs); err != nil {
		return fmt.Errorf("reservedSystemCPUs: %w", err)
	}
	var milli int64
	for field, reserved := range map[string]map[string]string{"kubeReserved": file.KubeReserved, "systemReserved": file.SystemReserved} {
		amount, ok := reserved["cpu"]
		if !ok {
			continue
		}
		q, err := quantity.Parse(amount)
		if err != nil {
			return fmt.Errorf("%s.cpu %.40q: %w", field, amount, err)
		}
		if q.Sign() < 0 {
			return fmt.Errorf("%s.cpu %s is negative", field, amount)
		}
		if q.CmpInt64(cpuset.MaxCPUs) > 0 {
			return fmt.Errorf("%s.cpu %s is more than the %d CPUs that are supported", field, amount, cpuset.MaxCPUs)
		}
		milli += q.MilliValue()
	}
	const milliPerCPU = 1000
	c.ReservedCount = int((milli + milliPerCPU - 1) / milliPerCPU)
	return nil
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
