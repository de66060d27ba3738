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
	if m.Spec.Domain.Memory.Hugepages != nil {
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
	memoryOverhead := overhead(m)
	for key, value := range m.Annotations {
		if !dropped(key) {
			annotations[key] = value
		}
	}
	maps.Copy(annotations, map[string]string{
		"kubevirt.io/domain":                                 m.Name,
		"kubectl.kubernetes.io/default-container":            "compute",
		"kubevirt.io/migrationTransportUnix":                 "true",
		"kubevirt.io/memory-overhead-bytes":                  strconv.FormatInt(memoryOverhead.Value(), 10),
		"pre.hook.backup.velero.io/container":                "compute",
		"pre.hook.backup.velero.io/command":                  freezer(m, "--freeze"),
		"pre.hook.backup.velero.io/timeout":                  "60s",
		"post.hook.backup.velero.io/container":               "compute",
		"post.hook.backup.velero.io/command":                 freezer(m, "--unfreeze"),
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

// freezer is the command that Velero runs in the compute container before and after a backup.
func freezer(m *machine, action string) string {
	return fmt.Sprintf(`["/usr/bin/virt-freezer", %q, "--name", %q, "--namespace", %q]`, action, m.Name, m.Namespace)
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
	no := false
	user := launcherUser
	yes := true
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
		Affinity:                      affinity(m),
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

// machineTypes are what KubeVirt's mutating webhook fills in, by architecture.
var machineTypes = map[string]string{"amd64": "q35", "arm64": "virt"}

// nodeSelector is nodeselectorrenderer.go:54-96. KubeVirt's node labeller writes the labels of machine types and CPU models.
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
	machineType := m.domain.Machine.Type
	if machineType == "" {
		machineType = machineTypes[m.Spec.Architecture]
	}
	if machineType != "" {
		selector["machine-type.node.kubevirt.io/"+machineType] = "true"
	}
	model := m.Spec.Domain.CPU.Model
	if !ofHost(model) {
		selector["cpu-model.node.kubevirt.io/"+model] = "true"
	}
	return selector
}

// ofHost reports whether the guest's CPU model is the host's, as KubeVirt's mutating webhook makes it where none is named.
func ofHost(model string) bool {
	return model == "" || model == "host-model" || model == "host-passthrough"
}

// affinity is the VMI's. A guest with the host's model keeps off nodes whose model is obsolete (template.go:640).
func affinity(m *machine) *corev1.Affinity {
	model := m.Spec.Domain.CPU.Model
	if model != "" && model != "host-model" {
		return m.pod.Affinity
	}
	affinity := m.pod.Affinity.DeepCopy()
	if affinity == nil {
		affinity = &corev1.Affinity{}
	}
	if affinity.NodeAffinity == nil {
		affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	if affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{}}}
	}
	terms := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	for i := range terms {
		terms[i].MatchExpressions = append(terms[i].MatchExpressions,
			corev1.NodeSelectorRequirement{Key: "node-labeller.kubevirt.io/obsolete-host-model", Operator: corev1.NodeSelectorOpDoesNotExist})
	}
	return affinity
}

func computeContainer(m *machine, sidecars int) corev1.Container {
	context := unprivileged()
	group := launcherUser
	context.RunAsGroup = &group
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
	no := false
	yes := true
	user := launcherUser
	return &corev1.SecurityContext{
		RunAsUser: &user, RunAsNonRoot: &yes, AllowPrivilegeEscalation: &no,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}
