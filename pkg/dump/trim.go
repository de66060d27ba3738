// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/vmi"
)

// annotations are those that the commands read.
var annotations = []string{corev1.MirrorPodAnnotationKey, "kubernetes.io/config.source", "kubevirt.io/domain", "kubevirt.io/migrationJobUID",
	"kubevirt.io/migrationJobName", vmi.EvenParityAnnotation}

// partLabel is on corepin's own pods. Only of these the images are kept: their tags are the versions.
const partLabel = "app.kubernetes.io/name"

func trimReport(report *v1alpha1.NodeCPU) *v1alpha1.NodeCPU {
	trimmed := report.DeepCopy()
	trimmed.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind}
	trimmed.ManagedFields = nil
	trimmed.Annotations = nil
	return trimmed
}

func trimNode(node *corev1.Node) *corev1.Node {
	trimmed := node.DeepCopy()
	trimmed.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}
	trimmed.ManagedFields = nil
	trimmed.Annotations = nil
	trimmed.Spec = corev1.NodeSpec{Taints: trimmed.Spec.Taints, Unschedulable: trimmed.Spec.Unschedulable}
	trimmed.Status.Addresses = nil
	trimmed.Status.Images = nil
	trimmed.Status.VolumesInUse = nil
	trimmed.Status.VolumesAttached = nil
	trimmed.Status.Config = nil
	trimmed.Status.NodeInfo = corev1.NodeSystemInfo{BootID: node.Status.NodeInfo.BootID, KubeletVersion: node.Status.NodeInfo.KubeletVersion,
		OperatingSystem: node.Status.NodeInfo.OperatingSystem, Architecture: node.Status.NodeInfo.Architecture}
	return trimmed
}

// trimMeta is what identifies an object, its owner, and the marks that the commands read.
func trimMeta(meta *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: meta.Name, Namespace: meta.Namespace, UID: meta.UID, OwnerReferences: meta.OwnerReferences,
		CreationTimestamp: meta.CreationTimestamp, DeletionTimestamp: meta.DeletionTimestamp,
		Labels: kept(meta.Labels, isOurs), Annotations: kept(meta.Annotations, func(key string) bool { return slices.Contains(annotations, key) }),
	}
}

// isOurs reports whether a label says what a pod is: KubeVirt's, and that of corepin's parts.
func isOurs(key string) bool {
	prefix, _, _ := strings.Cut(key, "/")
	return key == partLabel || prefix == "kubevirt.io" || prefix == "vm.kubevirt.io"
}

func kept(values map[string]string, keep func(key string) bool) map[string]string {
	left := maps.Clone(values)
	maps.DeleteFunc(left, func(key, _ string) bool { return !keep(key) })
	return left
}

func trimPod(pod *corev1.Pod) *corev1.Pod {
	spec := &pod.Spec
	status := &pod.Status
	image := strings.HasPrefix(pod.Labels[partLabel], "corepin-")
	trimmed := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: trimMeta(&pod.ObjectMeta),
		Spec: corev1.PodSpec{
			NodeName: spec.NodeName, NodeSelector: spec.NodeSelector, Affinity: spec.Affinity, Tolerations: spec.Tolerations,
			TopologySpreadConstraints: spec.TopologySpreadConstraints, SchedulerName: spec.SchedulerName, SchedulingGates: spec.SchedulingGates,
			Priority: spec.Priority, PriorityClassName: spec.PriorityClassName, PreemptionPolicy: spec.PreemptionPolicy, RestartPolicy: spec.RestartPolicy,
			HostNetwork: spec.HostNetwork, OS: spec.OS, Overhead: spec.Overhead, Resources: spec.Resources, ResourceClaims: spec.ResourceClaims,
			Containers: trimContainers(spec.Containers, image), InitContainers: trimContainers(spec.InitContainers, image),
		},
		Status: corev1.PodStatus{
			Phase: status.Phase, Conditions: status.Conditions, Reason: status.Reason, Message: status.Message, QOSClass: status.QOSClass,
			NominatedNodeName: status.NominatedNodeName, StartTime: status.StartTime,
			AllocatedResources: status.AllocatedResources, Resources: status.Resources,
			ContainerStatuses: trimStatuses(status.ContainerStatuses), InitContainerStatuses: trimStatuses(status.InitContainerStatuses),
		},
	}
	return trimmed
}

func trimContainers(containers []corev1.Container, image bool) []corev1.Container {
	var trimmed []corev1.Container
	for i := range containers {
		c := &containers[i]
		t := corev1.Container{Name: c.Name, Resources: c.Resources, Ports: c.Ports, RestartPolicy: c.RestartPolicy, ResizePolicy: c.ResizePolicy}
		if image {
			t.Image = c.Image
		}
		trimmed = append(trimmed, t)
	}
	return trimmed
}

func trimStatuses(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
	var trimmed []corev1.ContainerStatus
	for i := range statuses {
		s := &statuses[i]
		t := corev1.ContainerStatus{Name: s.Name, Ready: s.Ready, Started: s.Started, RestartCount: s.RestartCount, State: s.State,
			AllocatedResources: s.AllocatedResources, Resources: s.Resources}
		t.State.Terminated = nil // which may have a message of the program
		if s.State.Terminated != nil {
			t.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: s.State.Terminated.ExitCode, Reason: s.State.Terminated.Reason,
				StartedAt: s.State.Terminated.StartedAt, FinishedAt: s.State.Terminated.FinishedAt}
		}
		trimmed = append(trimmed, t)
	}
	return trimmed
}

// The fields of VMIs that are kept. Disks have only what decides about IO threads.
var (
	vmiSpec   = []string{"schedulerName", "nodeSelector", "architecture", "evictionStrategy", "affinity", "tolerations", "topologySpreadConstraints", "priorityClassName"}
	vmiDomain = []string{"cpu", "memory", "resources", "ioThreadsPolicy", "ioThreads"}
)

func trimVMI(object map[string]any) map[string]any {
	spec := mapAt(object, "spec")
	domain := pick(mapAt(spec, "domain"), vmiDomain...)
	var disks []any
	list, _ := mapAt(mapAt(spec, "domain"), "devices")["disks"].([]any)
	for _, disk := range list {
		fields, _ := disk.(map[string]any)
		disks = append(disks, pick(fields, "dedicatedIOThread"))
	}
	domain["devices"] = map[string]any{}
	if disks != nil {
		domain["devices"] = map[string]any{"disks": disks}
	}
	trimmedSpec := pick(spec, vmiSpec...)
	trimmedSpec["domain"] = domain
	trimmed := pick(object, "apiVersion", "kind")
	trimmed["metadata"] = trimFields(object)
	trimmed["spec"] = trimmedSpec
	status := trimVMIStatus(mapAt(object, "status"))
	if len(status) > 0 {
		trimmed["status"] = status
	}
	return trimmed
}

// trimVMIStatus keeps whether a VM runs, can be migrated, and is being migrated.
func trimVMIStatus(status map[string]any) map[string]any {
	trimmed := pick(status, "phase")
	var conditions []any
	list, _ := status["conditions"].([]any)
	for _, condition := range list {
		fields, _ := condition.(map[string]any)
		if fields["type"] == "LiveMigratable" {
			conditions = append(conditions, pick(fields, "type", "status", "reason"))
		}
	}
	if conditions != nil {
		trimmed["conditions"] = conditions
	}
	migration := mapAt(status, "migrationState")
	if migration != nil {
		trimmed["migrationState"] = pick(migration, "startTimestamp", "endTimestamp", "completed", "failed")
	}
	return trimmed
}

// trimSize keeps what an instancetype, a preference or a revision says about sizes.
func trimSize(object map[string]any) map[string]any {
	trimmed := pick(object, "apiVersion", "kind", "revision")
	trimmed["metadata"] = trimFields(object)
	spec := mapAt(object, "spec")
	if spec != nil {
		trimmed["spec"] = spec
	}
	data := mapAt(object, "data")
	if data != nil {
		inner := pick(data, "apiVersion", "kind", "spec")
		inner["metadata"] = trimFields(data)
		trimmed["data"] = inner
	}
	return trimmed
}

// trimFields is trimMeta for decoded JSON.
func trimFields(object map[string]any) map[string]any {
	metadata := mapAt(object, "metadata")
	trimmed := pick(metadata, "name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "ownerReferences")
	marks := map[string]any{}
	for key, value := range mapAt(metadata, "annotations") {
		switch {
		case slices.Contains(annotations, key):
			marks[key] = value
		case key == vmi.HookSidecarsAnnotation:
			marks[key] = "[]" // that there is one counts
		}
	}
	if len(marks) > 0 {
		trimmed["annotations"] = marks
	}
	return trimmed
}

func mapAt(object map[string]any, key string) map[string]any {
	value, _ := object[key].(map[string]any)
	return value
}

func pick(object map[string]any, keys ...string) map[string]any {
	picked := map[string]any{}
	for _, key := range keys {
		value, there := object[key]
		if there {
			picked[key] = value
		}
	}
	return picked
}
