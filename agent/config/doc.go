// SPDX-License-Identifier: Apache-2.0

// Package config is the agent's configuration file: its fields, their defaults, and what is refused.
//
//	apiVersion: agent.corepin.dev/v1alpha1
//	kind: AgentConfiguration
//	kubeletRootDir: /var/lib/kubelet
//	kubeletConfigFile: /var/lib/kubelet/config.yaml
//	sysfsDir: /sys
//	kubelet:
//	  address: ""
//	  caFile: ""
//	  insecureSkipTLSVerify: false
//	featureGates:
//	  configMap: {namespace: kubevirt, name: kubevirt-config}
//	  cpuManagerDefault: false
//	labels:
//	  overrideKubeVirt: false
//	pinning:
//	  mode: enforce
//	  libvirtFrom: podDirectory
//	  libvirtSockets: [/run/libvirt/virtqemud-sock, /run/libvirt/libvirt-sock]
//	  libvirtURI: ""
//	  launcherNamespaces: []
//	  domainName: "{namespace}_{name}"
//	  procDir: /proc
//	  cgroupDir: /host/sys/fs/cgroup
//	  deadline: 5s
//	  verifyPeriod: 4s
//	  waitLimitPercent: 5
//	serving:
//	  address: ":10390"
//
// Every field may be left out; those above are the defaults. The file is read strictly: an unknown field, or a file of
// another kind or version, is an error that names the file. A setting that is silently ignored would be worse than an
// agent that does not start. The error lists everything that is wrong with the file.
//
// The file is for what holds on every node of a cluster. What differs from pod to pod (the node's name,
// the kubeconfig, the log level) is a flag.
package config
