// Package config is the agent's configuration file: what may stand in it, what stands there when
// nothing does, and what is refused.
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
//	serving:
//	  address: ":10390"
//
// Every field may be left out; those above are the defaults. The file is read strictly: a field that
// does not exist, or a file of another kind or version, is an error that names the file, since a
// setting that is silently ignored is worse than an agent that does not start. All that is wrong with
// a file is told at once.
//
// The file is for what holds on every node of a cluster. What differs from pod to pod (the node's name,
// the kubeconfig, the log level) is a flag.
package config
