// SPDX-License-Identifier: Apache-2.0

package launcherpod

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Migration names a VirtualMachineInstanceMigration.
type Migration struct {
	Name string
	UID  types.UID
	// AddedNodeSelector is spec.addedNodeSelector.
	AddedNodeSelector map[string]string
}

// MigrationLabel has the UID of its migration on a target pod.
const MigrationLabel = "kubevirt.io/migrationJobUID"

// Labels of KubeVirt's node labeller that a migration's target selects, and prefixes of them.
const (
	hostModelPrefix      = "host-model-cpu.node.kubevirt.io/"
	hostFeaturePrefix    = "host-model-required-features.node.kubevirt.io/"
	migrationModelPrefix = "cpu-model-migration.node.kubevirt.io/"
	vendorPrefix         = "cpu-vendor.node.kubevirt.io/"
)

// RenderTarget makes the pod to which a running VM moves, from the labels of the node that it runs on and the node selector of
// its pod there (createTargetPod, pkg/virt-controller/watch/migration/migration.go). An error says what the node lacks.
func RenderTarget(object *unstructured.Unstructured, migration Migration, node map[string]string, source *corev1.Pod) (*corev1.Pod, error) {
	pod, err := Render(object)
	if err != nil {
		return nil, err
	}
	pod.Labels[MigrationLabel] = string(migration.UID)
	pod.Annotations["kubevirt.io/migrationJobName"] = migration.Name
	apart := corev1.PodAffinityTerm{
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{CreatedByLabel: pod.Labels[CreatedByLabel]}},
		TopologyKey:   corev1.LabelHostname,
	}
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &corev1.Affinity{}
	}
	if pod.Spec.Affinity.PodAntiAffinity == nil {
		pod.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{}
	}
	others := pod.Spec.Affinity.PodAntiAffinity
	others.RequiredDuringSchedulingIgnoredDuringExecution = append(others.RequiredDuringSchedulingIgnoredDuringExecution, apart)
	selector := pod.Spec.NodeSelector
	for key, value := range migration.AddedNodeSelector {
		if _, ok := selector[key]; !ok {
			selector[key] = value
		}
	}
	model, _, err := unstructured.NestedString(object.Object, "spec", "domain", "cpu", "model")
	if err != nil {
		return nil, fmt.Errorf("rendering the target pod of migration %s: reading the CPU model: %w", migration.Name, err)
	}
	if err := SelectCPU(selector, model, node, source); err != nil {
		return nil, fmt.Errorf("rendering the target pod of migration %s: %w", migration.Name, err)
	}
	return pod, nil
}

// SelectCPU adds to the node selector of a migration's target which CPUs can run the guest. model is the CPU model of the VMI, node
// has the labels of the node that the VM runs on, and source is its pod there. An error says what the node lacks.
func SelectCPU(selector map[string]string, model string, node map[string]string, source *corev1.Pod) error {
	if model == "" || model == "host-model" {
		if err := selectHostModel(selector, node, source.Spec.NodeSelector); err != nil {
			return err
		}
	}
	for label := range node {
		if strings.HasPrefix(label, vendorPrefix) {
			selector[label] = "true"
		}
	}
	return nil
}

// selectHostModel selects nodes that can run a guest with the CPU of the node where it started: what its pod there selects if
// that was a target already, else what the node is (prepareNodeSelectorForHostCpuModel).
func selectHostModel(selector, node, source map[string]string) error {
	moved := false
	for key, value := range source {
		if strings.HasPrefix(key, featureLabel) || strings.HasPrefix(key, migrationModelPrefix) {
			selector[key] = value
			moved = true
		}
	}
	if moved {
		return nil
	}
	found := false
	for key, value := range node {
		model, isModel := strings.CutPrefix(key, hostModelPrefix)
		if isModel {
			selector[migrationModelPrefix+model] = value
			found = true
		}
		feature, isFeature := strings.CutPrefix(key, hostFeaturePrefix)
		if isFeature {
			selector[featureLabel+feature] = value
		}
	}
	if !found {
		return fmt.Errorf("the node that the VM runs on has no label %s…, from KubeVirt's node labeller", hostModelPrefix)
	}
	return nil
}

// RenderAttachment makes the pod that holds hot-plugged volumes for a launcher pod, on its node. claims are the claims by the names
// of the volumes, in pairs (RenderHotplugAttachmentPodTemplate, template.go).
func RenderAttachment(vmi types.NamespacedName, uid types.UID, owner *corev1.Pod, claims ...[2]string) *corev1.Pod {
	context := unprivileged()
	context.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	context.SELinuxOptions = &corev1.SELinuxOptions{Level: "s0"}
	fromHost := corev1.MountPropagationHostToContainer
	atOnce := int64(0)
	container := corev1.Container{
		Name:    "hotplug-disk",
		Image:   LauncherImage,
		Command: []string{"/bin/sh", "-c", "/usr/bin/container-disk --copy-path /path/hp"},
		Resources: corev1.ResourceRequirements{
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("80M")},
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("2M")},
		},
		SecurityContext: context,
		VolumeMounts:    []corev1.VolumeMount{{Name: "hotplug-disks", MountPath: "/path", MountPropagation: &fromHost}},
	}
	volumes := []corev1.Volume{scratchVolume("hotplug-disks")}
	for _, claim := range claims {
		volumes = append(volumes, corev1.Volume{Name: claim[0], VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim[1]},
		}})
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: claim[0], MountPath: "/" + claim[0]})
	}
	onNode := corev1.NodeSelectorRequirement{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{owner.Spec.NodeName}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName:    "hp-volume-",
			Namespace:       vmi.Namespace,
			Labels:          map[string]string{"kubevirt.io": "hotplug-disk"},
			Annotations:     map[string]string{"kubevirt.io/owner-vmi-name": vmi.Name, "kubevirt.io/owner-vmi-uid": string(uid)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, corev1.SchemeGroupVersion.WithKind("Pod"))},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{container},
			Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{onNode}}},
			}}},
			Tolerations:                   attachmentTolerations(owner.Spec.Tolerations),
			Volumes:                       volumes,
			TerminationGracePeriodSeconds: &atOnce,
		},
	}
}

// attachmentTolerations are the owner's, and those of pressure and the like: the volume goes where the guest is.
func attachmentTolerations(owner []corev1.Toleration) []corev1.Toleration {
	var all []corev1.Toleration
	for _, key := range []string{
		corev1.TaintNodeUnschedulable, corev1.TaintNodeNetworkUnavailable, corev1.TaintNodeDiskPressure,
		corev1.TaintNodeMemoryPressure, corev1.TaintNodePIDPressure,
	} {
		all = append(all, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	all = append(all, owner...)
	slices.SortStableFunc(all, func(a, b corev1.Toleration) int { return strings.Compare(a.Key, b.Key) })
	return slices.CompactFunc(all, func(a, b corev1.Toleration) bool { return equality.Semantic.DeepEqual(a, b) })
}
