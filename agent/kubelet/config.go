package kubelet

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubeletcpu"
)

const kubeletConfigKind = "KubeletConfiguration"

// ParseConfig reads a KubeletConfiguration and fills in the kubelet's own defaults
// (pkg/kubelet/apis/config/v1beta1/defaults.go, v1.36.3) where they matter here. Fields it does not know
// are left alone: a newer kubelet has more of them, and the file is the kubelet's to judge.
func ParseConfig(data []byte) (Config, error) {
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
		CPUManagerPolicy:       or(file.CPUManagerPolicy, kubeletcpu.CPUManagerNone),
		CPUManagerOptions:      file.CPUManagerPolicyOptions,
		TopologyManagerPolicy:  or(file.TopologyManagerPolicy, kubeletconfig.NoneTopologyManagerPolicy),
		TopologyManagerScope:   or(file.TopologyManagerScope, kubeletconfig.ContainerTopologyManagerScope),
		TopologyManagerOptions: file.TopologyManagerPolicyOptions,
		MemoryManagerPolicy:    or(file.MemoryManagerPolicy, kubeletconfig.NoneMemoryManagerPolicy),
		PodLevelResources:      file.FeatureGates["PodLevelResourceManagers"],
		CertFile:               file.TLSCertFile,
	}
	return c, c.parseReserved(file)
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
		quantity, err := resource.ParseQuantity(amount)
		if err != nil {
			return fmt.Errorf("%s.cpu %.40q: %w", field, amount, err)
		}
		if quantity.Sign() < 0 {
			return fmt.Errorf("%s.cpu %s is negative", field, amount)
		}
		if quantity.CmpInt64(cpuset.MaxCPUs) > 0 {
			return fmt.Errorf("%s.cpu %s is more than the %d CPUs that are supported", field, amount, cpuset.MaxCPUs)
		}
		milli += quantity.MilliValue()
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
