// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SetDefaults fills in every field that is not set.
func SetDefaults(c *AgentConfiguration) {
	setDefault(&c.APIVersion, APIVersion)
	setDefault(&c.Kind, Kind)
	setDefault(&c.KubeletRootDir, "/var/lib/kubelet")
	setDefault(&c.KubeletConfigFile, filepath.Join(c.KubeletRootDir, "config.yaml"))
	setDefault(&c.SysfsDir, "/sys")
	setDefault(&c.FeatureGates.ConfigMap.Namespace, "kubevirt")
	setDefault(&c.FeatureGates.ConfigMap.Name, "kubevirt-config")
	if c.StartupTaint == nil {
		taint := "startup-taint.cluster-autoscaler.kubernetes.io/corepin"
		c.StartupTaint = &taint
	}
	setDefault(&c.Pinning.Mode, PinningEnforce)
	setDefault(&c.Pinning.LibvirtFrom, FromPodDirectory)
	if len(c.Pinning.LibvirtSockets) == 0 {
		c.Pinning.LibvirtSockets = []string{"/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"}
	}
	if c.Pinning.LauncherNamespaces == nil {
		c.Pinning.LauncherNamespaces = []string{}
	}
	setDefault(&c.Pinning.DomainName, "{namespace}_{name}")
	setDefault(&c.Pinning.ProcDir, "/proc")
	setDefault(&c.Pinning.CgroupDir, "/host/sys/fs/cgroup")
	setDefault(&c.Pinning.Deadline, metav1.Duration{Duration: 5 * time.Second})
	setDefault(&c.Pinning.VerifyPeriod, metav1.Duration{Duration: 4 * time.Second})
	if c.Pinning.WaitLimitPercent == nil {
		limit := int32(5)
		c.Pinning.WaitLimitPercent = &limit
	}
	if c.Serving.Address == nil {
		address := ":10390"
		c.Serving.Address = &address
	}
}

func setDefault[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}
