// SPDX-License-Identifier: Apache-2.0

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
	// kubelet is how the kubelet is asked what it runs with.
	Kubelet Kubelet `json:"kubelet,omitempty"`
	// featureGates say where the agent reads whether it is to label its node.
	FeatureGates FeatureGates `json:"featureGates,omitempty"`
	// labels are how the node's labels are kept.
	Labels Labels `json:"labels,omitempty"`
	// startupTaint is the key of a taint that the agent takes away once the node's report is exact. Whoever makes nodes, such as
	// an autoscaler's node pool, may give it to them, so that no VM comes before. The policy in confinement.yaml names it
	// too. Default startup-taint.cluster-autoscaler.kubernetes.io/corepin, which Cluster Autoscaler knows by its prefix. An empty
	// string takes none away.
	StartupTaint *string `json:"startupTaint,omitempty"`
	// pinning is how the vCPUs of virtual machines are kept on their CPUs.
	Pinning Pinning `json:"pinning,omitempty"`
	// serving is the agent's own HTTP endpoint.
	Serving Serving `json:"serving,omitempty"`
}

// Kubelet is how the kubelet is asked what it runs with. Its certificate is trusted if it lies in the pki
// directory of kubeletRootDir, or if an authority below has signed it for the node.
type Kubelet struct {
	// address is host:port of the node's kubelet. Empty, the default, means the InternalIP and the port
	// that the Node names.
	Address string `json:"address,omitempty"`
	// caFile has the certificates of the authorities that sign kubelets' serving certificates. Empty, the
	// default, means the API server's own.
	CAFile string `json:"caFile,omitempty"`
	// insecureSkipTLSVerify takes any certificate. Then whoever answers at the address gets the token of
	// the agent's service account.
	InsecureSkipTLSVerify bool `json:"insecureSkipTLSVerify,omitempty"`
}

// Labels are how the node's labels are kept.
type Labels struct {
	// overrideKubeVirt makes the agent set labels also where KubeVirt's virt-handler does. Default false:
	// the agent then leaves them to virt-handler, and reports a disagreement.
	OverrideKubeVirt bool `json:"overrideKubeVirt,omitempty"`
}

// FeatureGates is where feature gate CPUManager is read: the ConfigMap, and the KubeVirt object where there
// is one.
type FeatureGates struct {
	// configMap holds the gates that are on, as a comma separated list under the key feature-gates.
	// Default kubevirt-config in namespace kubevirt.
	ConfigMap ConfigMapRef `json:"configMap,omitempty"`
	// cpuManagerDefault is the gate where neither the ConfigMap nor a KubeVirt object says anything.
	// Default false.
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
	// PinningEnforce pins it, for the first time too.
	PinningEnforce PinningMode = "enforce"
	// PinningRepair leaves the first pins to KubeVirt, and mends them when they are wrong or drift.
	PinningRepair PinningMode = "repair"
	// PinningObserve only reports it.
	PinningObserve PinningMode = "observe"
)

// LibvirtFrom says where the libvirt of a virtual machine is found.
type LibvirtFrom string

const (
	// FromPodDirectory is the launcher pod's volume libvirt-runtime in the kubelet's pods directory. It
	// needs CAP_DAC_OVERRIDE, and neither hostPID nor any privilege over other processes.
	FromPodDirectory LibvirtFrom = "podDirectory"
	// FromProcess is the file system of a process of the launcher pod, by <procDir>/<pid>/root: for
	// launchers whose libvirt-runtime is no emptyDir. It needs the host's /proc, CAP_SYS_PTRACE and
	// CAP_DAC_OVERRIDE.
	FromProcess LibvirtFrom = "process"
	// FromHost is one libvirt of the host for all its guests. It needs the host's /run/libvirt and
	// CAP_DAC_OVERRIDE or membership in the group that may write to the socket.
	FromHost LibvirtFrom = "host"
)

// Pinning is how the vCPUs of virtual machines are kept on the CPUs that the kubelet granted.
type Pinning struct {
	// mode is enforce, repair or observe. Default enforce.
	Mode PinningMode `json:"mode,omitempty"`
	// libvirtFrom is podDirectory, process or host. Default podDirectory.
	LibvirtFrom LibvirtFrom `json:"libvirtFrom,omitempty"`
	// libvirtSockets are the paths that are tried in turn where libvirtFrom is process, within the launcher's
	// file system, or host. Default /run/libvirt/virtqemud-sock and /run/libvirt/libvirt-sock.
	LibvirtSockets []string `json:"libvirtSockets,omitempty"`
	// libvirtURI is the driver to open in each libvirt. Empty, the default, means qemu:///system or
	// qemu:///session by the owner of the socket.
	LibvirtURI string `json:"libvirtURI,omitempty"`
	// launcherNamespaces are the namespaces whose pods may be launcher pods although no VMI owns them: where
	// guests run without KubeVirt. Whoever may create pods there has the agent, which is root on the node, talk to
	// the libvirt in them. Default none.
	LauncherNamespaces []string `json:"launcherNamespaces,omitempty"`
	// domainName is libvirt's name of a VM's domain, where {namespace} and {name} stand for the VM's.
	// Default {namespace}_{name}, which is KubeVirt's.
	DomainName string `json:"domainName,omitempty"`
	// procDir is where the host's processes are seen. Default /proc.
	ProcDir string `json:"procDir,omitempty"`
	// cgroupDir is where the host's cgroups are mounted, to be read only; where there are none, the
	// containers' cpusets are left out of what is compared. Default /host/sys/fs/cgroup, since a container sees
	// its own cgroup at /sys/fs/cgroup.
	CgroupDir string `json:"cgroupDir,omitempty"`
	// deadline bounds one look at one guest: connecting to its libvirt, reading, pinning, reading back. After one that
	// was missed the next has twice the time, up to a minute. Default 5s.
	Deadline metav1.Duration `json:"deadline,omitempty"`
	// verifyPeriod is the time from a guest's last pins to the next check of where its threads are, a safeguard beside the
	// events: the kernel tells nobody that it moved a thread. While checks find nothing the time doubles, up to a minute.
	// Annotation corepin.dev/verify-period of a VMI sets it for that VM, from its next start on. Default 4s.
	VerifyPeriod metav1.Duration `json:"verifyPeriod,omitempty"`
	// waitLimitPercent is the part of a minute, in percent, that a vCPU may be ready to run and wait for its CPU. What is
	// above is in the node's report, and in an Event of the VM after three such minutes in a row. 0 asks libvirt nothing of
	// it. Default 5.
	WaitLimitPercent *int32 `json:"waitLimitPercent,omitempty"`
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
