// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// migrationLabel is on the pod that a running VM moves to. Its value is the UID of the migration (KubeVirt
	// pkg/virt-controller/watch/migration). It is an annotation too.
	migrationLabel = "kubevirt.io/migrationJobUID"
	// attachmentValue is the value of Label on the pod that holds a hotplugged volume for a launcher pod
	// (template.go, RenderHotplugAttachmentPodTemplate). It runs no guest and is never Guaranteed.
	attachmentValue = "hotplug-disk"
)

// Role says what a pod does for a VM.
type Role uint8

const (
	// NoRole is that of pods that are not KubeVirt's.
	NoRole Role = iota
	// Start is that of the pod that starts the VM.
	Start
	// MigrationTarget is that of a pod to which a running VM moves from another node. Plugging CPUs into a VM is such a
	// move too, to a pod that asks for more of them.
	MigrationTarget
	// Attachment is that of a pod that only holds a hotplugged volume, on the node of the launcher pod that owns it.
	Attachment
)

// String is the role in one word, as logs have it.
func (r Role) String() string {
	return [...]string{"none", "start", "migrationTarget", "attachment"}[r]
}

// RoleOf reads any pod.
func RoleOf(pod *corev1.Pod) Role {
	switch {
	case pod.Labels[Label] == attachmentValue: // those of a migration carry its label too
		return Attachment
	case pod.Labels[Label] != LabelValue:
		return NoRole
	case migrationOf(pod) != "":
		return MigrationTarget
	}
	return Start
}

// migrationOf is the UID of the migration that the pod is the target of, "" for others.
func migrationOf(pod *corev1.Pod) types.UID {
	uid := pod.Labels[migrationLabel]
	if uid != "" {
		return types.UID(uid)
	}
	return types.UID(pod.Annotations[migrationLabel])
}

// Plugged is how many more CPUs target asks for than source, the pod in which the VM runs: above 0 for the
// target of a CPU hotplug, 0 for a mere move. Both must be launcher pods of one VMI, and target must be a MigrationTarget;
// ok is false for other pods.
func Plugged(source, target *corev1.Pod) (cpus int, ok bool) {
	from, isLauncher := Of(source)
	to, isTarget := Of(target)
	if !isLauncher || !isTarget || to.Role != MigrationTarget || from.VMIUID != to.VMIUID || source.UID == target.UID {
		return 0, false
	}
	return to.CPUs - from.CPUs, true
}
