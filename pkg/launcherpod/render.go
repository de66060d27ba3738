package launcherpod

import (
	"fmt"
	"hash/crc32"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/vmi"
)

const (
	// CreatedByLabel has the UID of the VMI on its launcher pod.
	CreatedByLabel = "kubevirt.io/created-by"
	// UnpausedGate is a readiness gate of every launcher pod, which virt-controller itself satisfies.
	UnpausedGate = corev1.PodConditionType("kubevirt.io/virtual-machine-unpaused")

	// launcherUser runs the launcher and its guest (gate Root is off).
	launcherUser = int64(107)

	// launcherGrace is added to the VMI's grace period, which is 30 s unless set.
	launcherGrace = int64(30)
)

// droppedAnnotations are prefixes of the annotations that are not copied (template.go:1572).
var droppedAnnotations = []string{"kubectl.kubernetes.io", "kubevirt.io/storage-observed-api-version", "kubevirt.io/latest-observed-api-version"}

// Render makes the launcher pod of a VMI. It is pure. Errors are about the VMI and name the field.
func Render(object *unstructured.Unstructured) (*corev1.Pod, error) {
	request, err := vmi.FromUnstructured(object.Object)
	if err != nil {
		return nil, fmt.Errorf("rendering the launcher pod: %w", err)
	}
	return RenderSized(object, request)
}

// RenderSized is Render for a VMI whose sizes are those of request, for example because its instancetype gives them.
// It changes request: KubeVirt's defaults are filled in.
func RenderSized(object *unstructured.Unstructured, request *vmi.VMI) (*corev1.Pod, error) {
	m, err := read(object, request)
	if err != nil {
		return nil, fmt.Errorf("rendering the launcher pod: %w", err)
	}
	sidecars, err := m.hookSidecars()
	if err != nil {
		return nil, fmt.Errorf("rendering the launcher pod: %w", err)
	}
	spec := podSpec(m)
	spec.Containers = []corev1.Container{computeContainer(m, len(sidecars))}
	if pages := m.Spec.Domain.Memory.Hugepages; pages != nil {
		huge := scratchVolume("hugepages")
		huge.EmptyDir.Medium = corev1.StorageMediumHugePages
		spec.Volumes = append(spec.Volumes, huge, scratchVolume("hugetblfs-dir"))
	}
	addConsoleLog(m, &spec)
	addVolumes(m, &spec)
	addFilesystems(m, &spec)
	addHookSidecars(m, &spec, sidecars)
	return &corev1.Pod{ObjectMeta: podMeta(m), Spec: spec}, nil
}

// podMeta is template.go:715-740, 1547-1580 and 1734.
func podMeta(m *machine) metav1.ObjectMeta {
	yes := true
	labels := map[string]string{}
	maps.Copy(labels, m.Labels)
	maps.Copy(labels, map[string]string{
		launcher.Label:        launcher.LabelValue,
		CreatedByLabel:        string(m.UID),
		"vm.kubevirt.io/name": m.hostname(),
		"vmi.kubevirt.io/id":  labelOf(m.Name),
	})
	annotations := map[string]string{}
	for key, value := range m.Annotations {
		if !dropped(key) {
			annotations[key] = value
		}
	}
	maps.Copy(annotations, map[string]string{
		"kubevirt.io/domain":                                 m.Name,
		"kubectl.kubernetes.io/default-container":            "compute",
		"kubevirt.io/migrationTransportUnix":                 "true",
		"descheduler.alpha.kubernetes.io/request-evict-only": "",
	})
	return metav1.ObjectMeta{
		GenerateName: "virt-launcher-" + m.Name + "-",
		Namespace:    m.Namespace,
		Labels:       labels,
		Annotations:  annotations,
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "kubevirt.io/v1", Kind: "VirtualMachineInstance", Name: m.Name, UID: m.UID,
			Controller: &yes, BlockOwnerDeletion: &yes,
		}},
	}
}

func dropped(annotation string) bool {
	for _, prefix := range droppedAnnotations {
		if strings.HasPrefix(annotation, prefix) {
			return true
		}
	}
	return false
}

// labelOf makes a name fit a label's value, which has at most 63 characters.
func labelOf(name string) string {
	if len(name) <= 63 {
		return name
	}
	return fmt.Sprintf("%s-%08x", strings.TrimRight(name[:54], "-."), crc32.ChecksumIEEE([]byte(name)))
}

// podSpec is the pod without its containers and the VMI's own volumes.
func podSpec(m *machine) corev1.PodSpec {
	no, user, yes := false, launcherUser, true
	grace := launcherGrace + 30
	if m.pod.TerminationGracePeriodSeconds != nil {
		grace = launcherGrace + *m.pod.TerminationGracePeriodSeconds
	}
	spec := corev1.PodSpec{
		SchedulerName:                 m.Spec.SchedulerName,
		NodeSelector:                  nodeSelector(m),
		Hostname:                      m.hostname(),
		RestartPolicy:                 corev1.RestartPolicyNever,
		TerminationGracePeriodSeconds: &grace,
		EnableServiceLinks:            &no,
		AutomountServiceAccountToken:  &no,
		ReadinessGates:                []corev1.PodReadinessGate{{ConditionType: UnpausedGate}},
		Affinity:                      m.pod.Affinity,
		Tolerations:                   m.pod.Tolerations,
		TopologySpreadConstraints:     m.pod.TopologySpreadConstraints,
		PriorityClassName:             m.pod.PriorityClassName,
		SecurityContext:               &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user, FSGroup: &user, RunAsNonRoot: &yes},
	}
	for _, name := range []string{"private", "public", "sockets", "virt-bin-share-dir", "libvirt-runtime", "ephemeral-disks", "hotplug-disks"} {
		spec.Volumes = append(spec.Volumes, scratchVolume(name))
	}
	return spec
}

// nodeSelector is nodeselectorrenderer.go:54-96, without the labels of machine types and CPU models.
func nodeSelector(m *machine) map[string]string {
	selector := map[string]string{}
	maps.Copy(selector, m.Spec.NodeSelector)
	selector["kubevirt.io/schedulable"] = "true"
	selector[corev1.LabelArchStable] = m.Spec.Architecture
	if m.Dedicated() {
		selector["kubevirt.io/cpumanager"] = "true"
	}
	if m.Spec.Domain.CPU.Realtime != nil {
		selector["kubevirt.io/realtime"] = "true"
	}
	return selector
}

func computeContainer(m *machine, sidecars int) corev1.Container {
	context := unprivileged()
	context.Capabilities.Add = []corev1.Capability{"NET_BIND_SERVICE"}
	return corev1.Container{
		Name:    "compute",
		Image:   LauncherImage,
		Command: []string{"/usr/bin/virt-launcher-monitor"},
		Args: []string{
			"--name", m.Name, "--uid", string(m.UID), "--namespace", m.Namespace,
			"--hook-sidecars", strconv.Itoa(sidecars), "--hypervisor", "kvm", "--run-as-nonroot", "--image-volume",
		},
		Env: []corev1.EnvVar{
			{Name: "XDG_CACHE_HOME", Value: "/var/run/kubevirt-private"},
			{Name: "XDG_CONFIG_HOME", Value: "/var/run/kubevirt-private"},
			{Name: "XDG_RUNTIME_DIR", Value: "/var/run"},
		},
		Resources:       computeResources(m),
		SecurityContext: context,
		VolumeMounts: []corev1.VolumeMount{
			{Name: "private", MountPath: "/var/run/kubevirt-private"},
			{Name: "public", MountPath: "/var/run/kubevirt"},
			{Name: "ephemeral-disks", MountPath: "/var/run/kubevirt-ephemeral-disks"},
			{Name: "libvirt-runtime", MountPath: "/var/run/libvirt"},
			{Name: "sockets", MountPath: "/var/run/kubevirt/sockets"},
			{Name: "hotplug-disks", MountPath: "/var/run/kubevirt/hotplug-disks"},
		},
	}
}

func unprivileged() *corev1.SecurityContext {
	no, yes, user := false, true, launcherUser
	return &corev1.SecurityContext{
		RunAsUser: &user, RunAsNonRoot: &yes, AllowPrivilegeEscalation: &no,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}
