package config

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// APIVersion and Kind are what a configuration file must say it is.
const (
	APIVersion = "agent.corepin.dev/v1alpha1"
	Kind       = "AgentConfiguration"
)

// AgentConfiguration is the agent's configuration file.
type AgentConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// kubeletRootDir is the kubelet's root directory (its flag --root-dir): where cpu_manager_state and
	// the pods' volumes are. k0s, microk8s and others move it. Default /var/lib/kubelet.
	KubeletRootDir string `json:"kubeletRootDir,omitempty"`
	// kubeletConfigFile is the file that the kubelet was started with (its flag --config). Default
	// config.yaml in kubeletRootDir, where kubeadm puts it.
	KubeletConfigFile string `json:"kubeletConfigFile,omitempty"`
	// sysfsDir is where the host's sysfs is. Default /sys.
	SysfsDir string `json:"sysfsDir,omitempty"`
	// featureGates say where the agent reads whether it is to label its node.
	FeatureGates FeatureGates `json:"featureGates,omitempty"`
	// pinning is how the vCPUs of virtual machines are kept on their CPUs.
	Pinning Pinning `json:"pinning,omitempty"`
	// serving is the agent's own HTTP endpoint.
	Serving Serving `json:"serving,omitempty"`
}

// FeatureGates is where feature gate CPUManager is read.
type FeatureGates struct {
	// configMap holds the gates that are on, as a comma separated list under the key feature-gates.
	// Default kubevirt-config in namespace kubevirt.
	ConfigMap ConfigMapRef `json:"configMap,omitempty"`
	// cpuManagerDefault is the gate where the ConfigMap or its key does not exist. Default false.
	CPUManagerDefault bool `json:"cpuManagerDefault,omitempty"`
}

// ConfigMapRef names a ConfigMap.
type ConfigMapRef struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// PinningMode says what the agent does about a vCPU that is not where it should be.
type PinningMode string

const (
	// PinningEnforce pins it.
	PinningEnforce PinningMode = "enforce"
	// PinningObserve only reports it.
	PinningObserve PinningMode = "observe"
)

// Pinning is how the vCPUs of virtual machines are kept on the CPUs that the kubelet granted.
type Pinning struct {
	// mode is enforce or observe. Default enforce.
	Mode PinningMode `json:"mode,omitempty"`
	// libvirtURI is the driver to open in each launcher pod's libvirt. Empty, the default, means
	// qemu:///system or qemu:///session by the owner of the socket.
	LibvirtURI string `json:"libvirtURI,omitempty"`
	// deadline bounds one conversation with one libvirt. Default 5s.
	Deadline metav1.Duration `json:"deadline,omitempty"`
	// verifyPeriod is the time between two full checks of all pins, a net under the events. Default 30s.
	VerifyPeriod metav1.Duration `json:"verifyPeriod,omitempty"`
}

// Serving is the agent's own HTTP endpoint.
type Serving struct {
	// address is where /healthz, /readyz and /metrics are served; empty means nowhere. Default :10390.
	Address *string `json:"address,omitempty"`
}

// String gives the configuration in one line of JSON, for logs.
func (c *AgentConfiguration) String() string {
	data, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
