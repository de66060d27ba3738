// SPDX-License-Identifier: Apache-2.0

package policy

import "testing"

// What the agent opens in a pod it may open. What else is in its mounts it may not.
func TestAppArmorKeepsSecretsFromTheAgent(t *testing.T) {
	agent := readProfile(t, "corepin-agent")
	const kubelet = "/var/lib/kubelet/"
	const volumes = kubelet + "pods/0a1b/volumes/"
	for _, path := range []string{
		"/etc/corepin/..2026_12_02/config.yaml", "/var/run/secrets/kubernetes.io/serviceaccount/..data/token", kubelet, kubelet + "cpu_manager_state",
		kubelet + "memory_manager_state", kubelet + "config.yaml", kubelet + "device-plugins/kubelet_internal_checkpoint", kubelet + "pki/",
		kubelet + "pki/kubelet.crt", kubelet + "pki/kubelet-server-2026-12-02-10-00-00.pem", "/sys/", "/sys/devices/", "/sys/devices/system/", "/sys/devices/system/cpu/cpu0/topology/core_id",
		"/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "/sys/kernel/mm/ksm/run", "/proc/irq/12/smp_affinity_list", "/proc/1/stat",
		"/host/sys/fs/cgroup/kubepods.slice/cpuset.cpus.effective", "/sys/fs/cgroup/cpu.max",
	} {
		if !agent.may(path, "r") {
			t.Errorf("%s may not be read", path)
		}
	}
	for _, path := range []string{
		volumes + "kubernetes.io~empty-dir/libvirt-runtime/virtqemud-sock", volumes + "kubernetes.io~empty-dir/libvirt-runtime/libvirt-sock",
		kubelet + "pod-resources/kubelet.sock",
	} {
		if !agent.may(path, "rw") {
			t.Errorf("%s may not be connected to", path)
		}
	}
	for _, path := range []string{
		kubelet + "pki/kubelet.key", kubelet + "pki/kubelet-client-current.pem", kubelet + "kubeconfig", volumes + "kubernetes.io~secret/tls/tls.key",
		volumes + "kubernetes.io~projected/kube-api-access-x/token", volumes + "kubernetes.io~empty-dir/other/file", kubelet + "device-plugins/kubelet.sock",
		"/proc/1/environ", "/proc/1/mem", "/proc/kcore", "/proc/sys/kernel/core_pattern", "/etc/shadow", "/sys/kernel/security/x",
	} {
		if agent.may(path, "r") || agent.may(path, "w") {
			t.Errorf("%s may be opened", path)
		}
	}
}
