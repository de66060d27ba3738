// SPDX-License-Identifier: Apache-2.0

package launcherpod

import (
	"crypto/sha1"
	"fmt"
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
	// NodeLabel has the name of its node on a launcher pod that is bound, and on the VMI; virt-controller writes it.
	NodeLabel = "kubevirt.io/nodeName"
	// CreatedByLabel has the UID of the VMI on its launcher pod.
	CreatedByLabel = "kubevirt.io/created-by"
	// UnpausedGate is a readiness gate of every launcher pod, which virt-controller itself satisfies.
	UnpausedGate = corev1.PodConditionType("kubevirt.io/virtual-machine-unpaused")

	// launcherUser runs the launcher and its guest (gate Root is off).
	launcherUser = int64(107)

	// featureLabel and the name of a CPU's feature is a label of nodes that have it, from KubeVirt's node labeller.
	featureLabel = "cpu-feature.node.kubevirt.io/"
	// privateDir is the launcher's own directory in its pod.
	privateDir = "/var/run/kubevirt-private"
	// podBridge is the bridge that virt-handler makes in the pod's network namespace.
	podBridge = "k6t-eth0"

	// defaultGrace is the grace period of a VMI that states none, in seconds.
	defaultGrace = int64(30)
	// gracePadding is added to it twice: the launcher has that much to end the guest, and the kubelet to end the launcher.
	gracePadding = int64(15)
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
	disks := disksOf(m, len(sidecars) > 0)
	spec.Volumes = append(spec.Volumes, disks.volumes...)
	spec.Containers = []corev1.Container{computeContainer(m, disks.mounts, len(sidecars))}
	addFilesystems(m, &spec)
	addHookSidecars(m, &spec, sidecars)
	addConsoleLog(m, &spec)
	addContainerDisks(m, &spec)
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
	if m.masquerades() {
		annotations["traffic.sidecar.istio.io/kubevirtInterfaces"] = podBridge
		annotations["istio.io/reroute-virtual-interfaces"] = podBridge
	}
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

// labelOf makes a name fit a label's value, which has at most 63 characters (CalculateVirtualMachineInstanceID,
// pkg/apimachinery/identity.go).
func labelOf(name string) string {
	if len(name) <= 63 {
		return name
	}
	sum := sha1.Sum([]byte(name))
	return fmt.Sprintf("%s-%x", name[:54], sum[:4])
}

// podSpec is the pod without its containers and the VMI's own volumes.
func podSpec(m *machine) corev1.PodSpec {
	no := false
	user := launcherUser
	yes := true
	grace := m.grace() + 2*gracePadding
	spec := corev1.PodSpec{
		SchedulerName:                 m.Spec.SchedulerName,
		NodeSelector:                  nodeSelector(m),
		Hostname:                      m.hostname(),
		Subdomain:                     m.pod.Subdomain,
		DNSPolicy:                     m.pod.DNSPolicy,
		DNSConfig:                     m.pod.DNSConfig,
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
	for _, name := range []string{"private", "public", "sockets", "virt-bin-share-dir", "libvirt-runtime", "ephemeral-disks"} {
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
	machineType := m.machine
	if machineType == "" {
		machineType = m.domain.Machine.Type
	}
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
	for _, feature := range m.Spec.Domain.CPU.Features {
		if feature.Policy == "" || feature.Policy == "require" {
			selector[featureLabel+feature.Name] = "true"
		}
	}
	return selector
}

// ofHost reports whether the guest's CPU model is the host's, as KubeVirt's mutating webhook makes it where none is named.
func ofHost(model string) bool {
	return model == "" || model == "host-model" || model == "host-passthrough"
}

// affinity is the VMI's. A guest with the host's model keeps off nodes whose model is obsolete, and one that forbids a feature
// off nodes that have it (setNodeAffinityForPod, template.go).
func affinity(m *machine) *corev1.Affinity {
	affinity := m.pod.Affinity.DeepCopy()
	model := m.Spec.Domain.CPU.Model
	if model == "" || model == "host-model" {
		affinity = keepOff(affinity, "node-labeller.kubevirt.io/obsolete-host-model")
	}
	for _, feature := range m.Spec.Domain.CPU.Features {
		if feature.Policy == "forbid" {
			affinity = keepOff(affinity, featureLabel+feature.Name)
		}
	}
	return affinity
}

// keepOff adds to every way to fit a node that the node lacks the label.
func keepOff(affinity *corev1.Affinity, label string) *corev1.Affinity {
	if affinity == nil {
		affinity = &corev1.Affinity{}
	}
	if affinity.NodeAffinity == nil {
		affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	required := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		required = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{}}}
		affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = required
	}
	for i := range required.NodeSelectorTerms {
		term := &required.NodeSelectorTerms[i]
		term.MatchExpressions = append(term.MatchExpressions, corev1.NodeSelectorRequirement{Key: label, Operator: corev1.NodeSelectorOpDoesNotExist})
	}
	return affinity
}

// firmware is where the launcher's image has the guest's firmware, by architecture.
var firmware = map[string]string{"amd64": "/usr/share/edk2/ovmf", "arm64": "/usr/share/AAVMF"}

// computeContainer is the launcher's. KubeVirt adds a random time to the one that the guest has to appear; here it is the least.
func computeContainer(m *machine, mounts []corev1.VolumeMount, sidecars int) corev1.Container {
	context := unprivileged()
	context.RunAsGroup = context.RunAsUser
	context.Capabilities.Add = []corev1.Capability{"NET_BIND_SERVICE"}
	return corev1.Container{
		Name:            "compute",
		Image:           LauncherImage,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{"/usr/bin/virt-launcher-monitor"},
		Args: []string{
			"--qemu-timeout", "240s", "--name", m.Name, "--uid", string(m.UID), "--namespace", m.Namespace,
			"--kubevirt-share-dir", "/var/run/kubevirt", "--ephemeral-disk-dir", "/var/run/kubevirt-ephemeral-disks",
			"--container-disk-dir", "/var/run/kubevirt/container-disks",
			"--grace-period-seconds", strconv.FormatInt(m.grace()+gracePadding, 10), "--hook-sidecars", strconv.Itoa(sidecars),
			"--ovmf-path", firmware[m.Spec.Architecture], "--disk-memory-limit", "2097152000", "--hypervisor", "kvm",
			"--run-as-nonroot", "--image-volume", "--upgrade-ordinal-ifaces",
		},
		Env: append(userDirectories(), corev1.EnvVar{
			Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}},
		}),
		Ports:                    m.ports(),
		Resources:                computeResources(m),
		SecurityContext:          context,
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		VolumeMounts: append([]corev1.VolumeMount{
			{Name: "private", MountPath: privateDir},
			{Name: "public", MountPath: "/var/run/kubevirt"},
			{Name: "ephemeral-disks", MountPath: "/var/run/kubevirt-ephemeral-disks"},
			{Name: "libvirt-runtime", MountPath: "/var/run/libvirt"},
			{Name: "sockets", MountPath: "/var/run/kubevirt/sockets"},
		}, mounts...),
	}
}

// userDirectories make a libvirt that root does not run keep its sockets and files in the pod's volumes.
func userDirectories() []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: "XDG_CACHE_HOME", Value: privateDir},
		{Name: "XDG_CONFIG_HOME", Value: privateDir},
		{Name: "XDG_RUNTIME_DIR", Value: "/var/run"},
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
