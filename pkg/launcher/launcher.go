// SPDX-License-Identifier: Apache-2.0

// Package launcher reads a launcher pod: the pod that runs one virtual machine's guest.
//
// KubeVirt makes these pods from VMIs. corepin's scheduler sees the pod first, and its agent starts from
// the pod too. This package answers what both ask: is this a launcher pod, of which VMI, does the VM want
// dedicated CPUs, and would the kubelet really give it exclusive ones. The last question matters, because in a
// cluster the answer "no" is silent. One injected container without limits makes
// the pod Burstable, the VM starts all the same, and its vCPUs share the node's shared pool with everybody.
//
// What the VMI says beyond the pod, and whether both together can be scheduled at all, is in vm.go. The scheduler and
// kubectl-corepin use it, so that they say the same.
//
// needs.go says what a node is charged for such a pod, and count.go what its CPUs are for. role.go distinguishes the pod that
// starts a VM, the pod that a running VM moves to, perhaps with more CPUs, and the pod that only holds a volume.
//
// What the kubelet makes of a pod is decided in pkg/kubelet/admission; this package only finds the words for it.
// All functions are pure and accept any pod.
package launcher

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// What marks a launcher pod (KubeVirt pkg/virt-controller/services/template.go and
// nodeselectorrenderer.go, commit d923fdb815cd).
const (
	// Label has the value LabelValue on every launcher pod.
	Label      = "kubevirt.io"
	LabelValue = "virt-launcher"

	vmiKind          = "VirtualMachineInstance"
	vmiGroup         = "kubevirt.io/"
	domainAnnotation = "kubevirt.io/domain"
	createdByLabel   = "kubevirt.io/created-by"
	computeContainer = "compute"
	// realtimeLabel is a node label that only the launcher pods of VMs with realtime vCPUs select.
	realtimeLabel = "kubevirt.io/realtime"
)

// dedicatedSelectors are the node labels that only the launcher pods of dedicated VMs select: the first since KubeVirt
// v1.8, the second up to v1.7.
var dedicatedSelectors = []string{"kubevirt.io/cpumanager", "cpumanager"}

// Launcher is what a launcher pod says about its virtual machine.
type Launcher struct {
	// VMI names the VirtualMachineInstance; its name is empty where the pod names none.
	VMI types.NamespacedName
	// VMIUID is the VMI's UID; empty where the pod does not name it.
	VMIUID types.UID
	// Role distinguishes a pod that starts the VM from one that a running VM moves to.
	Role Role
	// Dedicated is set when the VMI asked for dedicatedCpuPlacement.
	Dedicated bool
	// Realtime is set when the VMI asked for realtime vCPUs.
	Realtime bool
	// Compute is the name of the container that runs the guest; empty for a pod without containers.
	Compute string
	// CPUs is the number of exclusive CPUs that the kubelet would give the compute container; 0 where it
	// would leave it in the shared pool.
	CPUs int
	// Others are the containers besides the compute container to which the kubelet would give exclusive CPUs.
	Others []Share
}

// Of reads a pod; ok is false for one that is not a launcher pod.
func Of(pod *corev1.Pod) (l Launcher, ok bool) {
	if pod.Labels[Label] != LabelValue {
		return Launcher{}, false
	}
	l.Role = RoleOf(pod)
	l.VMI = types.NamespacedName{Namespace: pod.Namespace, Name: pod.Annotations[domainAnnotation]}
	l.VMIUID = types.UID(pod.Labels[createdByLabel])
	for _, owner := range pod.OwnerReferences {
		if owner.Kind == vmiKind && strings.HasPrefix(owner.APIVersion, vmiGroup) {
			l.VMI.Name = owner.Name
			l.VMIUID = owner.UID
			break
		}
	}
	l.Dedicated = Dedicated(pod)
	l.Realtime = pod.Spec.NodeSelector[realtimeLabel] == "true"
	compute := computeOf(pod)
	if compute != nil {
		l.Compute = compute.Name
		l.CPUs, l.Others = exclusive(admission.PodOf(pod), compute.Name)
	}
	return l, true
}

// Dedicated reports whether a pod is the launcher pod of a VM that asked for dedicatedCpuPlacement. It is cheaper than Of.
func Dedicated(pod *corev1.Pod) bool {
	return pod.Labels[Label] == LabelValue && slices.ContainsFunc(dedicatedSelectors, func(label string) bool {
		return pod.Spec.NodeSelector[label] == "true"
	})
}

// DomainName is the name of the VMI's domain in libvirt (KubeVirt
// pkg/virt-launcher/virtwrap/api VMINamespaceKeyFunc).
func DomainName(vmi types.NamespacedName) string {
	return vmi.Namespace + "_" + vmi.Name
}

// computeOf is the container that runs the guest: the one named compute, which KubeVirt puts first.
func computeOf(pod *corev1.Pod) *corev1.Container {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == computeContainer {
			return &pod.Spec.Containers[i]
		}
	}
	if len(pod.Spec.Containers) == 0 {
		return nil
	}
	return &pod.Spec.Containers[0]
}

// exclusive is the number of exclusive CPUs that the kubelet would give the app container of that name, and the other
// containers to which it would give some.
func exclusive(pod admission.Pod, compute string) (cpus int, others []Share) {
	if pod.PodLevelResources {
		return 0, nil
	}
	for _, c := range pod.Containers {
		switch {
		case c.Kind == admission.App && c.Name == compute:
			cpus = c.CPUs
		case c.CPUs > 0:
			others = append(others, Share{Container: c.Name, CPUs: c.CPUs})
		}
	}
	return cpus, others
}
