package launcher

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// migrationLabel has on the pod that a running VM moves to the UID of the migration (KubeVirt
	// pkg/virt-controller/watch/migration; it is an annotation too).
	migrationLabel = "kubevirt.io/migrationJobUID"
	// attachmentValue is the value of Label on the pod that holds a hotplugged volume for a launcher pod
	// (template.go, RenderHotplugAttachmentPodTemplate). It runs no guest and is never Guaranteed.
	attachmentValue = "hotplug-disk"
)

// Role tells what a pod does for a VM.
type Role uint8

const (
	// NoRole: the pod is none of KubeVirt's.
	NoRole Role = iota
	// Start: the pod starts the VM.
	Start
	// MigrationTarget: the VM runs already and moves here from another node. Plugging CPUs into a VM is such a
	// move too, to a pod that asks for more of them than the one that the VM runs in.
	MigrationTarget
	// Attachment: the pod only holds a hotplugged volume, at the node of the launcher pod that owns it.
	Attachment
)

// String gives the role in one word, as it stands in logs.
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
	if uid := pod.Labels[migrationLabel]; uid != "" {
		return types.UID(uid)
	}
	return types.UID(pod.Annotations[migrationLabel])
}

// Plugged is how many more CPUs target asks for than source, the pod that the VM runs in: above 0 for the
// target of a CPU hotplug, 0 for a mere move. Both must be launcher pods of one VMI, target a MigrationTarget;
// ok is false for any other two.
func Plugged(source, target *corev1.Pod) (cpus int, ok bool) {
	from, isLauncher := Of(source)
	to, isTarget := Of(target)
	if !isLauncher || !isTarget || to.Role != MigrationTarget || from.VMIUID != to.VMIUID || source.UID == target.UID {
		return 0, false
	}
	return to.CPUs - from.CPUs, true
}
