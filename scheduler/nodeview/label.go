package nodeview

import corev1 "k8s.io/api/core/v1"

// The labels by which a node says that its kubelet's CPU manager runs: the one of corepin and of old
// KubeVirt, and KubeVirt's own of today.
const (
	labelCPUManager         = "cpumanager"
	labelKubeVirtCPUManager = "kubevirt.io/cpumanager"
)

// Labelled tells whether a node says so.
func Labelled(node *corev1.Node) bool {
	return node.Labels[labelCPUManager] == "true" || node.Labels[labelKubeVirtCPUManager] == "true"
}
